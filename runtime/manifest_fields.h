/* manifest_fields.h -- which field of struct erne_model_desc has which place in the YAML
 * text of a manifest: what manifest.c writes and manifest_read.c reads. */
#ifndef ERNE_MANIFEST_FIELDS_H
#define ERNE_MANIFEST_FIELDS_H

#include "runtime/model_desc.h"

enum { MANIFEST_VERSION = 1, MANIFEST_MAX_BYTES = 1 << 20, MANIFEST_MAX_FIELDS = 128 };

enum manifest_type { VERSION, ARCH, INT, FLOAT, BOOL, STOPS, TEXT };

/* Place "model.layers" is key `layers` of mapping `model`. */
struct manifest_field {
    const char *place;
    enum manifest_type type;
    bool required;
    size_t offset;             /* in struct erne_model_desc */
};

/* In the order of the text; what lies in one mapping stands together. */
extern const struct manifest_field manifest_fields[];
extern const int manifest_n_fields;

bool manifest_is_chat(const struct manifest_field *f);
/* Whether the description has a value for the field: texts and whole parts (chat, moe,
 * vision) may be absent. */
bool manifest_has(const struct erne_model_desc *desc, const struct manifest_field *f);
/* The double with the shortest decimal form that is read back as x. */
double manifest_tidy(float x);

/* printf and strtof write and expect the decimal point of the host program's locale;
 * manifests have a dot. */
void manifest_swap_point(char *number, char from, char to);

#endif
