/*
 * What the two plugins of this folder hand to the module: trainer "distill" and rater "distill_loss".
 */
#ifndef BOSSKIT_DISTILL_H
#define BOSSKIT_DISTILL_H

#include <bosskit/method.h>

extern const struct bk_plugin distill_loss_plugin;      /* distill_loss.c */

#endif
