/*
 * JPEG (libjpeg) and PNG (libpng) files to 8-bit RGB.
 *
 * The kind is told by the file's first bytes, not by its name (ImageNet has a PNG
 * called .JPEG). A file that had to be repaired while decoding is refused: libjpeg
 * fills the missing part of a truncated image with grey and only warns. Colour
 * profiles, gamma and orientation tags are ignored, as Pillow and torchvision do.
 */
#include <bosskit/dataset.h>
#include <bosskit/file.h>

#include <setjmp.h>
#include <stdio.h>
#include <string.h>

#include <jerror.h>
#include <jpeglib.h>
#include <png.h>

#define MAX_FILE_BYTES ((size_t)256 << 20)
#define MAX_PIXELS     ((size_t)1 << 27)

/* ---- JPEG ------------------------------------------------------------------------ */

struct jpeg_job {
    struct jpeg_decompress_struct info;
    struct jpeg_error_mgr errors;
    jmp_buf fail;
    char message[JMSG_LENGTH_MAX];
    uint8_t *rgb;
    uint8_t *row; /* one line of CMYK */
};

static void jpeg_fail(j_common_ptr info)
{
    struct jpeg_job *job = info->client_data;
    info->err->format_message(info, job->message);
    longjmp(job->fail, 1);
}

/* Harmless: bytes between segments, an unknown Adobe transform, a newer JFIF revision.
 * Others mean lost pixels. */
static void jpeg_message(j_common_ptr info, int level)
{
    int code = info->err->msg_code;
    if (level >= 0 || code == JWRN_EXTRANEOUS_DATA || code == JWRN_ADOBE_XFORM ||
        code == JWRN_JFIF_MAJOR)
        return;
    jpeg_fail(info);
}

static void jpeg_silence(j_common_ptr info)
{
    (void)info;
}

/* Adobe writes CMYK inverted: 255 is no ink. */
static void cmyk_to_rgb(const uint8_t *cmyk, uint8_t *rgb, size_t width, bool inverted)
{
    for (size_t x = 0; x < width; x++)
        for (int c = 0; c < 3; c++) {
            unsigned v = cmyk[4 * x + (size_t)c], k = cmyk[4 * x + 3];
            rgb[3 * x + (size_t)c] =
                (uint8_t)(inverted ? v * k / 255 : (255 - v) * (255 - k) / 255);
        }
}

/* Everything that may jump; locals of the caller are out of its reach. */
static int jpeg_read(struct jpeg_job *job, const void *data, size_t nbytes)
{
    struct jpeg_decompress_struct *info = &job->info;

    jpeg_mem_src(info, data, (unsigned long)nbytes);
    jpeg_read_header(info, TRUE);
    if ((size_t)info->image_width * info->image_height > MAX_PIXELS) {
        snprintf(job->message, sizeof job->message, "%u x %u pixels are too many",
                 info->image_width, info->image_height);
        return BK_EDATA;
    }
    bool cmyk = info->num_components == 4;
    info->out_color_space = cmyk ? JCS_CMYK : JCS_RGB;
    jpeg_start_decompress(info);
    size_t width = info->output_width, stride = width * 3;
    job->rgb = bk_alloc(stride * info->output_height);
    job->row = cmyk ? bk_alloc(width * 4) : NULL;
    if (!job->rgb || (cmyk && !job->row))
        return BK_ENOMEM;
    while (info->output_scanline < info->output_height) {
        uint8_t *line = job->rgb + stride * info->output_scanline;
        JSAMPROW row = cmyk ? job->row : line;
        jpeg_read_scanlines(info, &row, 1);
        if (cmyk)
            cmyk_to_rgb(job->row, line, width, info->saw_Adobe_marker);
    }
    jpeg_finish_decompress(info);
    return BK_OK;
}

/* setjmp lives in a frame of its own, whose caller reads the results after it has
 * returned. */
static int jpeg_guarded(struct jpeg_job *job, const void *data, size_t nbytes)
{
    if (setjmp(job->fail))
        return BK_EDATA;
    jpeg_create_decompress(&job->info);
    return jpeg_read(job, data, nbytes);
}

static int decode_jpeg(const char *path, const void *data, size_t nbytes, uint8_t **rgb,
                       int32_t *width, int32_t *height, struct bk_error *err)
{
    struct jpeg_job *job = bk_zalloc(sizeof *job);
    int rc;

    if (!job)
        return bk_fail(err, BK_ENOMEM, "out of memory for '%s'", path);
    job->info.err = jpeg_std_error(&job->errors);
    job->errors.error_exit = jpeg_fail;
    job->errors.emit_message = jpeg_message;
    job->errors.output_message = jpeg_silence;
    job->info.client_data = job;
    rc = jpeg_guarded(job, data, nbytes);
    if (rc == BK_OK) {
        *width = (int32_t)job->info.output_width;
        *height = (int32_t)job->info.output_height;
        *rgb = job->rgb;
        job->rgb = NULL;
    } else if (rc == BK_ENOMEM) {
        bk_fail(err, rc, "out of memory for '%s'", path);
    } else {
        bk_fail(err, rc, "cannot decode JPEG file '%s': %s", path, job->message);
    }
    jpeg_destroy_decompress(&job->info);
    bk_free(job->rgb);
    bk_free(job->row);
    bk_free(job);
    return rc;
}

/* ---- PNG ------------------------------------------------------------------------- */

struct png_job {
    png_structp png;
    png_infop info;
    const uint8_t *data;
    size_t left;
    char message[128];
    uint8_t *rgb;
    png_bytep *rows;
    uint32_t width, height;
};

static void png_fail(png_structp png, png_const_charp text)
{
    struct png_job *job = png_get_error_ptr(png);
    snprintf(job->message, sizeof job->message, "%s", text);
    png_longjmp(png, 1);
}

static void png_silence(png_structp png, png_const_charp text)
{
    (void)png;
    (void)text;
}

static void png_fetch(png_structp png, png_bytep out, size_t n)
{
    struct png_job *job = png_get_io_ptr(png);
    if (n > job->left)
        png_error(png, "premature end of the file");
    memcpy(out, job->data, n);
    job->data += n;
    job->left -= n;
}

static int png_read(struct png_job *job)
{
    png_structp png = job->png;

    png_read_info(png, job->info);
    job->width = png_get_image_width(png, job->info);
    job->height = png_get_image_height(png, job->info);
    if ((size_t)job->width * job->height > MAX_PIXELS)
        png_error(png, "too many pixels");
    png_set_expand(png); /* palettes to RGB, 1..4 bits to 8, tRNS to alpha */
    png_set_scale_16(png);
    png_set_strip_alpha(png);
    png_set_gray_to_rgb(png);
    png_set_interlace_handling(png);
    png_read_update_info(png, job->info);
    size_t stride = png_get_rowbytes(png, job->info);
    if (stride != (size_t)job->width * 3)
        png_error(png, "unknown pixel layout");
    job->rgb = bk_alloc(stride * job->height);
    job->rows = bk_alloc(sizeof *job->rows * job->height);
    if (!job->rgb || !job->rows)
        return BK_ENOMEM;
    for (size_t y = 0; y < job->height; y++)
        job->rows[y] = job->rgb + stride * y;
    png_read_image(png, job->rows);
    png_read_end(png, NULL);
    return BK_OK;
}

static int png_guarded(struct png_job *job)
{
    if (setjmp(png_jmpbuf(job->png)))
        return BK_EDATA;
    return png_read(job);
}

static int decode_png(const char *path, const void *data, size_t nbytes, uint8_t **rgb,
                      int32_t *width, int32_t *height, struct bk_error *err)
{
    struct png_job job = { .data = data, .left = nbytes };
    int rc = BK_ENOMEM;

    job.png =
        png_create_read_struct(PNG_LIBPNG_VER_STRING, &job, png_fail, png_silence);
    if (job.png)
        job.info = png_create_info_struct(job.png);
    if (job.info) {
        png_set_read_fn(job.png, &job, png_fetch);
        png_set_user_limits(job.png, 65535, 65535);
        rc = png_guarded(&job);
    }
    if (rc == BK_OK) {
        *width = (int32_t)job.width;
        *height = (int32_t)job.height;
        *rgb = job.rgb;
        job.rgb = NULL;
    } else if (rc == BK_ENOMEM) {
        bk_fail(err, rc, "out of memory for '%s'", path);
    } else {
        bk_fail(err, rc, "cannot decode PNG file '%s': %s", path, job.message);
    }
    png_destroy_read_struct(&job.png, &job.info, NULL);
    bk_free(job.rgb);
    bk_free(job.rows);
    return rc;
}

/* ---- either ---------------------------------------------------------------------- */

int bk_image_decode(const char *path, uint8_t **rgb, int32_t *width, int32_t *height,
                    struct bk_error *err)
{
    static const uint8_t png_magic[8] = { 0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n' };
    char *data = NULL;
    size_t nbytes = 0;
    int rc;

    BK_TRY(bk_file_read(path, MAX_FILE_BYTES, &data, &nbytes, err));
    if (nbytes >= 3 && memcmp(data, "\xff\xd8\xff", 3) == 0)
        rc = decode_jpeg(path, data, nbytes, rgb, width, height, err);
    else if (nbytes >= 8 && memcmp(data, png_magic, 8) == 0)
        rc = decode_png(path, data, nbytes, rgb, width, height, err);
    else if (nbytes == 0)
        rc = bk_fail(err, BK_EDATA, "image file '%s' is empty", path);
    else
        rc = bk_fail(err, BK_EDATA, "'%s' is neither a JPEG nor a PNG file", path);
    bk_free(data);
    return rc;
}
