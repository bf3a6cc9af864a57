/* expert_cache.h -- which experts of a mapped file are in memory, where not all may be.
 *
 * Weights stay where the file is mapped; what changes is which of their pages are there.
 * Before a backend reads experts it fetches them: those that are missing are read ahead
 * by the system, together, while others are computed, and those that were used least
 * recently leave. Nothing here changes a result: what left too early is read once more.
 */
#ifndef ERNE_EXPERT_CACHE_H
#define ERNE_EXPERT_CACHE_H

#include "runtime/model_file.h"
#include "runtime/tensor.h"

struct erne_expert_cache;

/* ram_bytes: all that the process may take, of which experts get what all other weights,
 * program_bytes, and later claims leave. file must outlive it. ENOMEM when the experts
 * that a token uses in a layer would not fit. A file without experts gets a cache without
 * use, if its weights fit. */
int erne_expert_cache_open(struct erne_expert_cache **out,
                           const struct erne_model_file *file, uint64_t ram_bytes,
                           uint64_t program_bytes, struct erne_error *err);
void erne_expert_cache_close(struct erne_expert_cache **cache);

/* Takes memory from experts for something else, and gives it back. */
int erne_expert_cache_claim(struct erne_expert_cache *cache, uint64_t n_bytes,
                            struct erne_error *err);
void erne_expert_cache_unclaim(struct erne_expert_cache *cache, uint64_t n_bytes);

/* Of the experts `first` and on of a bank, of which expert e is used when start[e + 1]
 * is more than start[e], how many are computed together so that they and as many more
 * fit: answers the end of that range. bank: of either matrix. */
int64_t erne_expert_cache_batch(const struct erne_expert_cache *cache,
                                const struct erne_tensor *bank, const int32_t *start,
                                int64_t first);
/* Those of them that are used are read soon, both matrices. */
void erne_expert_cache_fetch(struct erne_expert_cache *cache,
                             const struct erne_tensor *bank, const int32_t *start,
                             int64_t first, int64_t end);
/* The same for a single expert. */
void erne_expert_cache_fetch_one(struct erne_expert_cache *cache,
                                 const struct erne_tensor *expert);

struct erne_expert_stats erne_expert_cache_stats(const struct erne_expert_cache *cache);

#endif
