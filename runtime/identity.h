/* identity.h -- what tells devices, models and builds from others, for what is kept about
 * them. */
#ifndef ERNE_IDENTITY_H
#define ERNE_IDENTITY_H

#include "runtime/backend.h"
#include "runtime/model_file.h"

enum { ERNE_IDENTITY_MAX = 512 };

/* One line that changes with the device and its driver; of a processor, with the
 * instructions it has. False: there is no such device. */
bool erne_device_identity(char text[ERNE_IDENTITY_MAX],
                          const struct erne_backend_fns *fns, int device);

uint64_t erne_model_hash(const struct erne_model_file *file);

/* One line that is another one after the program was built anew, with other code: a hash
 * of its file where the system says which it is. */
void erne_build_identity(char text[ERNE_IDENTITY_MAX]);

#endif
