/* doubles.c -- the list of backends of a program that has the stand-ins of shadow.h
 * instead of GPUs: a slow device and a wrong one, to be avoided. */
#include "runtime/backend_list.h"

#undef ERNE_BACKEND_LIST
#define ERNE_BACKEND_LIST(X) ERNE_BACKEND_CPU(X) X(shadow) X(reference)

#include "runtime/backend.c"
