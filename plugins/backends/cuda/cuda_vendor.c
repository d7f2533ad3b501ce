/*
 * cuda_vendor.c: open cuDNN and cuBLASLt, check that they are what the plugin was compiled for.
 *
 * A library is opened by the name that carries its major version and never closed again: both keep threads and exit
 * handlers. cuDNN 9 is one small library that opens its parts by bare name; two copies on a machine can get mixed, so
 * the directories that its parts were mapped from are compared after use.
 */
#include "cuda_vendor.h"
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#define TEXT_(x) #x
#define TEXT(x) TEXT_(x)
#define DNN_NAME "libcudnn.so." TEXT(CUDNN_MAJOR)
#define BLAS_NAME "libcublasLt.so." TEXT(CUBLAS_VER_MAJOR)

struct function {
    const char *name;
    size_t offset;              /* of the member in struct cuda_vendor */
};

#define FUNCTION(f) { #f, offsetof(struct cuda_vendor, f) },
static const struct function dnn_functions[] = { CUDA_DNN_FUNCTIONS(FUNCTION) };
static const struct function blas_functions[] = { CUDA_BLAS_FUNCTIONS(FUNCTION) };

static int open_library(const char *file, const char *what, const struct function *f, size_t n, struct cuda_vendor *v,
                        void **library, struct bk_error *err)
{
    *library = dlopen(file, RTLD_LAZY | RTLD_LOCAL);
    if (!*library) {
        const char *why = dlerror();
        return bk_fail(err, BK_ENOTSUP, "%s cannot be loaded (%s)", what, why ? why : file);
    }
    for (size_t i = 0; i < n; i++) {
        void *p = dlsym(*library, f[i].name);
        if (!p)
            return bk_fail(err, BK_ENOTSUP, "%s lacks %s: '%s' is not a version this plugin can use", what, f[i].name,
                           file);
        memcpy((char *)v + f[i].offset, &p, sizeof p);
    }
    return BK_OK;
}

static int check_versions(const struct cuda_vendor *v, struct bk_error *err)
{
    size_t dnn = v->cudnnGetVersion();
    if (dnn / 10000 != CUDNN_MAJOR)
        return bk_fail(err, BK_ENOTSUP, "cuDNN %zu.%zu was loaded, but the plugin was compiled for %d.%d", dnn / 10000,
                       dnn % 10000 / 100, CUDNN_MAJOR, CUDNN_MINOR);
    size_t runtime = v->cudnnGetCudartVersion();        /* one file name serves CUDA 12 and 13 */
    if (runtime / 1000 != CUDART_VERSION / 1000)
        return bk_fail(err, BK_ENOTSUP, "the cuDNN that was loaded is for CUDA %zu, but the plugin was compiled with CUDA %d",
                       runtime / 1000, CUDART_VERSION / 1000);
    size_t blas = v->cublasLtGetVersion();
    if (blas / 10000 != CUBLAS_VER_MAJOR)
        return bk_fail(err, BK_ENOTSUP, "cuBLASLt %zu.%zu was loaded, but the plugin was compiled for %d.%d",
                       blas / 10000, blas % 10000 / 100, CUBLAS_VER_MAJOR, CUBLAS_VER_MINOR);
    return BK_OK;
}

int cuda_vendor_open(struct cuda_vendor **out, struct bk_error *err)
{
    struct cuda_vendor *v = bk_zalloc(sizeof *v);
    if (!v)
        return bk_fail(err, BK_ENOMEM, "no memory for the tables of cuDNN and cuBLASLt");
    int rc = open_library(DNN_NAME, "cuDNN", dnn_functions, BK_ARRAY_LEN(dnn_functions), v, &v->dnn_library, err);
    if (!rc)
        rc = open_library(BLAS_NAME, "cuBLASLt", blas_functions, BK_ARRAY_LEN(blas_functions), v, &v->blas_library, err);
    if (!rc)
        rc = check_versions(v, err);
    if (rc) {
        cuda_vendor_free(v);
        return rc;
    }
    *out = v;
    return BK_OK;
}

void cuda_vendor_free(struct cuda_vendor *v)
{
    bk_free(v);                 /* the libraries stay */
}

void cuda_vendor_versions(const struct cuda_vendor *v, char *buf, size_t n)
{
    size_t dnn = v->cudnnGetVersion(), blas = v->cublasLtGetVersion();
    snprintf(buf, n, "cuDNN %zu.%zu.%zu, cuBLASLt %zu.%zu.%zu", dnn / 10000, dnn % 10000 / 100, dnn % 100, blas / 10000,
             blas % 10000 / 100, blas % 100);
}

/* The directory of a mapped part of cuDNN into dir; false for lines of /proc/self/maps about anything else. */
static bool dnn_directory(const char *line, char *dir, size_t n)
{
    const char *path = strchr(line, '/'), *file = path ? strrchr(path, '/') : NULL;
    if (!file || strncmp(file, "/libcudnn", 9) != 0)
        return false;
    snprintf(dir, n, "%.*s", (int)(file - path), path);
    return true;
}

int cuda_vendor_check_maps(struct bk_error *err)
{
    char line[4096], first[2048] = "", dir[2048];
    int rc = BK_OK;
    FILE *f = fopen("/proc/self/maps", "r");
    while (f && !rc && fgets(line, sizeof line, f)) {
        if (!dnn_directory(line, dir, sizeof dir))
            continue;
        if (!first[0])
            memcpy(first, dir, sizeof first);
        else if (strcmp(first, dir) != 0)
            rc = bk_fail(err, BK_ENOTSUP, "two copies of cuDNN are mixed in this process, from '%.400s' and '%.400s'; "
                         "leave one of them in LD_LIBRARY_PATH", first, dir);
    }
    if (f)
        fclose(f);
    return rc;
}
