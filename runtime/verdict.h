/* verdict.h -- what verification found out about a device, kept in the cache folder: for
 * this device, driver, build and model, and no other. */
#ifndef ERNE_VERDICT_H
#define ERNE_VERDICT_H

#include "runtime/backend.h"
#include "runtime/model_file.h"

/* One line each; tells verdicts apart. */
struct erne_verdict_key {
    char text[1280];
};

/* isa: the highest level it was opened with, or "auto". False when there is no device of
 * that number. */
bool erne_verdict_key_init(struct erne_verdict_key *key,
                           const struct erne_backend_fns *fns, int device,
                           const char *isa, const struct erne_model_file *file);

int erne_verdict_save(const char *dir, const struct erne_verdict_key *key,
                      const struct erne_refused *refused, struct erne_error *err);
/* Keeps, in place of a verdict, that verification has begun: it cannot be read until
 * one is saved. */
void erne_verdict_begin(const char *dir, const struct erne_verdict_key *key);
void erne_verdict_remove(const char *dir, const struct erne_verdict_key *key);
/* 1: *refused is set; 0: there is none; EFORMAT: there is one that cannot be read. */
int erne_verdict_load(const char *dir, const struct erne_verdict_key *key,
                      struct erne_refused *refused);

/* "matmul, attention with q4": cut where text ([cap]) ends. */
void erne_verdict_text(const struct erne_refused *refused, char *text, size_t cap);

/* ---- what is refused */

/* All operators: the model as a whole. */
struct erne_refused erne_refused_all(void);
/* The node's operator; where it works on a KV cache, with caches of that type. */
void erne_refused_add(struct erne_refused *refused, const struct erne_node *node);
bool erne_refused_has(const struct erne_refused *refused, const struct erne_node *node);
bool erne_refused_any(const struct erne_refused *refused);

#endif
