/*
 * base/sha256.c: SHA-256, incremental and of files.
 *
 * Plain loops after FIPS 180-4; the letters a..h and the functions ch, maj, sigma follow section 4.1.2 and 6.2. For
 * identities of artefacts and data, not for secrets.
 */
#include <bosskit/file.h>

#include <stdio.h>
#include <string.h>

static const uint32_t round_constant[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4,
    0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe,
    0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f,
    0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7,
    0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc,
    0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b,
    0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116,
    0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7,
    0xc67178f2,
};

static uint32_t rotr(uint32_t x, int n)
{
    return x >> n | x << (32 - n);
}

static void expand_schedule(const uint8_t block[64], uint32_t w[64])
{
    for (int t = 0; t < 16; t++)
        w[t] = (uint32_t)block[4 * t] << 24 | (uint32_t)block[4 * t + 1] << 16 |
               (uint32_t)block[4 * t + 2] << 8 | block[4 * t + 3];
    for (int t = 16; t < 64; t++) {
        uint32_t s0 = rotr(w[t - 15], 7) ^ rotr(w[t - 15], 18) ^ w[t - 15] >> 3;
        uint32_t s1 = rotr(w[t - 2], 17) ^ rotr(w[t - 2], 19) ^ w[t - 2] >> 10;
        w[t] = w[t - 16] + s0 + w[t - 7] + s1;
    }
}

static void compress(uint32_t state[8], const uint8_t block[64])
{
    uint32_t w[64];
    uint32_t a = state[0], b = state[1], c = state[2], d = state[3];
    uint32_t e = state[4], f = state[5], g = state[6], h = state[7];

    expand_schedule(block, w);
    for (int t = 0; t < 64; t++) {
        uint32_t t1 = h + (rotr(e, 6) ^ rotr(e, 11) ^ rotr(e, 25)) + ((e & f) ^ (~e & g)) +
                      round_constant[t] + w[t];
        uint32_t t2 = (rotr(a, 2) ^ rotr(a, 13) ^ rotr(a, 22)) +
                      ((a & b) ^ (a & c) ^ (b & c));
        h = g;
        g = f;
        f = e;
        e = d + t1;
        d = c;
        c = b;
        b = a;
        a = t1 + t2;
    }
    state[0] += a;
    state[1] += b;
    state[2] += c;
    state[3] += d;
    state[4] += e;
    state[5] += f;
    state[6] += g;
    state[7] += h;
}

void bk_sha256_init(struct bk_sha256 *s)
{
    static const uint32_t initial[8] = {
        0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
        0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
    };

    memset(s, 0, sizeof *s);
    memcpy(s->state, initial, sizeof initial);
}

void bk_sha256_add(struct bk_sha256 *s, const void *data, size_t nbytes)
{
    const uint8_t *p = data;
    size_t filled = s->nbytes % 64;

    if (!nbytes)
        return;
    s->nbytes += nbytes;
    if (filled) {
        size_t take = 64 - filled < nbytes ? 64 - filled : nbytes;
        memcpy(s->block + filled, p, take);
        p += take;
        nbytes -= take;
        if (filled + take < 64)
            return;
        compress(s->state, s->block);
    }
    for (; nbytes >= 64; p += 64, nbytes -= 64)
        compress(s->state, p);
    memcpy(s->block, p, nbytes);
}

void bk_sha256_hex(struct bk_sha256 *s, char out[65])
{
    static const uint8_t padding[64] = { 0x80 };
    uint64_t nbits = s->nbytes * 8;
    uint8_t length[8];

    for (int i = 0; i < 8; i++)
        length[i] = (uint8_t)(nbits >> (56 - 8 * i));
    bk_sha256_add(s, padding, 1 + (119 - s->nbytes % 64) % 64);
    bk_sha256_add(s, length, sizeof length);
    for (int i = 0; i < 8; i++)
        snprintf(out + 8 * i, 9, "%08x", (unsigned)s->state[i]);
}

int bk_sha256_file(const char *path, char out[65], struct bk_error *err)
{
    const size_t chunk = 1 << 18;
    struct bk_sha256 s;
    size_t n;
    int rc = BK_OK;

    FILE *f = fopen(path, "rb");
    if (!f)
        return bk_fail_errno(err, BK_EIO, "cannot open '%s'", path);
    uint8_t *buf = bk_alloc(chunk);
    if (!buf) {
        rc = bk_fail(err, BK_ENOMEM, "cannot read '%s': out of memory", path);
        goto done;
    }
    bk_sha256_init(&s);
    while ((n = fread(buf, 1, chunk, f)) > 0)
        bk_sha256_add(&s, buf, n);
    if (ferror(f))
        rc = bk_fail_errno(err, BK_EIO, "cannot read '%s'", path);
    else
        bk_sha256_hex(&s, out);
done:
    bk_free(buf);
    fclose(f);
    return rc;
}
