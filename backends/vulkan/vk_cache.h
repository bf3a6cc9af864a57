/* vk_cache.h -- compiled pipelines in a file: one a device, driver and build. Failures
 * cost only the next start's time. */
#ifndef ERNE_VK_CACHE_H
#define ERNE_VK_CACHE_H

#include "backends/vulkan/vk_pipeline.h"

/* Reads the file into p->known and answers the driver's part, to be freed. */
void *vk_cache_load(struct vk_pipelines *p, const struct vk_device *dev,
                    const char *cache_dir, size_t *n_bytes);
/* Writes it if there is something new. */
void vk_cache_save(struct vk_pipelines *p, struct vk_device *dev);
uint64_t vk_cache_hash(const struct vk_pipeline_key *key);

#endif
