/* lay_out.h -- copies of the models of tests/models/layouts, in the test's own folder,
 * that may be changed. */
#ifndef ERNE_TEST_LAY_OUT_H
#define ERNE_TEST_LAY_OUT_H

/* The model in one layout, as a folder; what to convert. */
const char *lay_out(const char *model, const char *layout);
/* Copies a file, if it is there, and removes the copy of what is not. */
void lay_out_copy(const char *folder, const char *name, const char *to_name);
/* Replaces a text of a copy by another. */
void lay_out_edit(const char *name, const char *from, const char *to);
/* The same in a binary file, wherever it stands; both are of one length. */
void lay_out_patch(const char *name, const char *from, const char *to);

#endif
