/**
 * data/image_folder.h: the sorted list of files of an image tree, between scanning and
 * importing.
 */
#ifndef BOSSKIT_DATA_IMAGE_FOLDER_H
#define BOSSKIT_DATA_IMAGE_FOLDER_H

#include <bosskit/dataset.h>

struct bk__file {
    char *path;
    int32_t label;
    int64_t nbytes, changed_s, changed_ns;
};

struct bk__file_list {
    struct bk__file *at;
    uint32_t n, cap;
};

/** Errors: BK_EDATA for folders that cannot be read or have no images. */
int bk__file_list_scan(const char *folder, const struct bk_class_list *classes,
                       struct bk__file_list *out, struct bk_error *err) BK_MUST_USE;
void bk__file_list_release(struct bk__file_list *l);

#endif
