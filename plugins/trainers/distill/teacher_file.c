/*
 * Weights of a teacher from a safetensors file with PyTorch's names and layouts, such as those that timm and
 * torchvision publish: kernels [O,I,Kh,Kw], norms "weight", "bias", "running_mean", "running_var". Tensors that the
 * teacher does not have (counters, another classifier) are ignored. Names are timm's; torchvision calls the modules of
 * its EfficientNet-B0 otherwise, in the same order, and those names are known too. A result of this trainer (its text
 * "method" is "distill") is read as well.
 */
#include "teacher.h"

#include <bosskit/bundle.h>
#include <stdio.h>
#include <string.h>

/* "bn1.scale" -> "bn1.weight", "bn1.offset" -> "bn1.bias"; other names are alike. */
static int published_name(const struct bk_slot *s, struct bk_text *out, struct bk_error *err)
{
    const char *dot = strrchr(s->name, '.'), *last = dot ? dot + 1 : s->name;
    const char *mine = s->role == BK_ROLE_NORM_SCALE ? "weight" : s->role == BK_ROLE_NORM_OFFSET ? "bias" : last;
    out->len = 0;
    bk_text_addn(out, s->name, (size_t)(last - s->name));
    bk_text_add(out, mine);
    return out->failed ? bk_fail(err, BK_ENOMEM, "out of memory for a name") : BK_OK;
}

/* timm's name of a module -> torchvision's, in EfficientNet; a block without expansion lacks the first row of modules. */
static const struct {
    const char *timm;
    int row;
    const char *torchvision;
} block_modules[] = { { "conv_pw", 0, "0" },          { "bn1", 0, "1" },            { "conv_dw", 1, "0" }, { "bn2", 1, "1" },
                      { "se.conv_reduce", 2, "fc1" }, { "se.conv_expand", 2, "fc2" }, { "conv_pwl", 3, "0" }, { "bn3", 3, "1" } };
static const char *const first_modules[8] = { "conv_dw", "bn1", "", "", "se.conv_reduce", "se.conv_expand", "conv_pw", "bn2" };
static const char *const outer_modules[][2] = { { "conv_stem", "features.0.0" }, { "bn1", "features.0.1" },
                                                { "conv_head", "features.8.0" }, { "bn2", "features.8.1" },
                                                { "classifier", "classifier.1" } };

/* Replace timm's name by torchvision's; a name that is not of EfficientNet-B0 stays. */
static int torchvision_name(struct bk_text *name, struct bk_error *err)
{
    char module[80], leaf[32], text[128] = "";
    int stage, block, n = 0;
    const char *timm = bk_text_get(name), *dot = strrchr(timm, '.');
    bool inner = sscanf(timm, "blocks.%d.%d.%n", &stage, &block, &n) == 2 && n > 0;
    if (!dot || (size_t)(dot - timm) - (size_t)n >= sizeof module || strlen(dot + 1) >= sizeof leaf)
        return BK_OK;
    snprintf(module, sizeof module, "%.*s", (int)(dot - timm) - n, timm + n);
    snprintf(leaf, sizeof leaf, "%s", dot + 1);
    for (size_t i = 0; inner && i < BK_ARRAY_LEN(block_modules); i++)
        if (!strcmp(module, stage ? block_modules[i].timm : first_modules[i]))
            snprintf(text, sizeof text, "features.%d.%d.block.%d.%s.%s", stage + 1, block,
                     block_modules[i].row - (stage || i < 2 ? 0 : 1), block_modules[i].torchvision, leaf);
    for (size_t i = 0; !inner && i < BK_ARRAY_LEN(outer_modules); i++)
        if (!strcmp(module, outer_modules[i][0]))
            snprintf(text, sizeof text, "%s.%s", outer_modules[i][1], leaf);
    if (*text) {
        name->len = 0;
        bk_text_add(name, text);
    }
    return name->failed ? bk_fail(err, BK_ENOMEM, "out of memory for a name") : BK_OK;
}

/* The slot's shape in PyTorch's order; kernels of squeeze-and-excitation are linear maps here. */
static bool shape_fits(const struct bk_slot *s, const struct bk_bundle_entry *e)
{
    bool pointwise = s->rank == 2 && e->rank == 4 && e->dim[2] == 1 && e->dim[3] == 1;
    if (e->rank != s->rank && !pointwise)
        return false;
    if (s->rank == 4)
        return e->dim[0] == s->dim[0] && e->dim[1] == s->dim[3] && e->dim[2] == s->dim[1] && e->dim[3] == s->dim[2];
    for (uint32_t i = 0; i < s->rank; i++)
        if (e->dim[i] != s->dim[i])
            return false;
    return true;
}

static int bad_shape(const struct bk_slot *s, const struct bk_bundle_entry *e, struct bk_error *err)
{
    struct bk_text got = BK_TEXT_INIT, want = BK_TEXT_INIT;
    static const int order[4] = { 0, 3, 1, 2 };
    for (uint32_t i = 0; i < e->rank; i++)
        bk_text_addf(&got, "%s%lld", i ? "," : "", (long long)e->dim[i]);
    for (uint32_t i = 0; i < s->rank; i++)
        bk_text_addf(&want, "%s%lld", i ? "," : "", (long long)s->dim[s->rank == 4 ? order[i] : (int)i]);
    int rc = bk_fail(err, BK_EDATA, "tensor '%s' is [%s], this teacher has [%s]", e->name, bk_text_get(&got),
                     bk_text_get(&want));
    bk_text_release(&got);
    bk_text_release(&want);
    return rc;
}

/* [O,I,Kh,Kw] -> [O,Kh,Kw,I] */
static void reorder(const struct bk_slot *s, const float *in, float *out)
{
    int64_t taps = s->dim[1] * s->dim[2], ci = s->dim[3];
    for (int64_t o = 0; o < s->dim[0]; o++)
        for (int64_t i = 0; i < ci; i++)
            for (int64_t t = 0; t < taps; t++)
                out[(o * taps + t) * ci + i] = in[(o * ci + i) * taps + t];
}

static int read_slot(struct teacher *t, int32_t slot, const struct bk_bundle *b, struct bk_text *name, struct bk_error *err)
{
    const struct bk_slot *s = &t->net.slot[slot];
    BK_TRY(published_name(s, name, err));
    if (bk_bundle_find(b, "features.0.0.weight"))
        BK_TRY(torchvision_name(name, err));
    const struct bk_bundle_entry *e = bk_bundle_find(b, bk_text_get(name));
    if (!e || e->dtype != BK_F32)
        return bk_fail(err, BK_EDATA, "there is no f32 tensor '%s'", bk_text_get(name));
    if (!shape_fits(s, e))
        return bad_shape(s, e, err);
    struct bk_tensor *master = bk_weights_get(t->weights, slot);
    if (s->rank != 4)
        return bk_tensor_write_f32(master, e->data, err);
    float *v = bk_alloc(e->nbytes + 1);
    if (!v)
        return bk_fail(err, BK_ENOMEM, "out of memory for '%s'", bk_text_get(name));
    reorder(s, e->data, v);
    int rc = bk_tensor_write_f32(master, v, err);
    bk_free(v);
    return rc;
}

int teacher_read(struct teacher *t, const char *path, struct bk_error *err)
{
    struct bk_text name = BK_TEXT_INIT;
    struct bk_bundle *b = NULL;
    BK_TRY(bk_bundle_read_known(path, &b, err));
    const char *method = bk_bundle_text(b, "method");
    int rc = BK_OK;
    if (method && strcmp(method, "distill") == 0)
        rc = bk_weights_load(t->weights, "teacher.", b, false, err);
    else
        for (int32_t i = 0; i < t->net.n && !rc; i++)
            rc = read_slot(t, i, b, &name, err);
    bk_text_release(&name);
    bk_bundle_free(b);
    bk_weights_changed(t->weights);
    if (rc)
        bk_context(err, "weights '%s' of teacher '%s'", path, t->name);
    return rc;
}
