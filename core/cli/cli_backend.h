/**
 * cli/cli_backend.h: can a backend work on this machine? Shared by `list` and `doctor`.
 */
#ifndef BOSSKIT_CLI_CLI_BACKEND_H
#define BOSSKIT_CLI_CLI_BACKEND_H

#include "plugin/registry.h"

/** Make an instance of a backend with default options and probe it; BK_ENOTSUP and others with the reason. */
int bk__cli_probe(const struct bk_registry *r, const char *name, struct bk_error *err);
/** Open device 0 of a backend and ask what it is. Errors: those of probe and open. */
int bk__cli_backend_info(const struct bk_registry *r, const char *name, struct bk_backend_info *out,
                         struct bk_error *err);

#endif
