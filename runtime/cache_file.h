/* cache_file.h -- small text files in the cache folder: what was found out about devices.
 * They appear whole or not at all. */
#ifndef ERNE_CACHE_FILE_H
#define ERNE_CACHE_FILE_H

#include <stdbool.h>
#include <stddef.h>

#include "runtime/error.h"

/* dir is created. */
int erne_cache_save(const char *dir, const char *name, const char *text, size_t n_bytes,
                    struct erne_error *err);
void erne_cache_remove(const char *dir, const char *name);
bool erne_cache_has(const char *dir, const char *name);
/* text: [cap], 0-terminated. Its length; or -1: there is none, or none that fits. */
int erne_cache_load(const char *dir, const char *name, char *text, size_t cap);

#endif
