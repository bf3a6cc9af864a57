/* pf_lib.c (POSIX) -- shared libraries opened at run time, so that one binary
 * works with and without a GPU's loader. */
#include "platforms/platform.h"

#include "runtime/include/erne.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>

struct pf_lib {
    void *handle;
};

int pf_lib_open(struct pf_lib **out, const char *name)
{
    struct pf_lib *lib = malloc(sizeof(*lib));

    if (!lib)
        return ERNE_ENOMEM;
    lib->handle = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (!lib->handle) {
        free(lib);
        errno = ENOENT; /* dlopen reports its reasons elsewhere, pf_last_error here */
        return ERNE_EIO;
    }
    *out = lib;
    return 0;
}

void *pf_lib_symbol(struct pf_lib *lib, const char *name)
{
    return dlsym(lib->handle, name);
}

void pf_lib_close(struct pf_lib **lib)
{
    if (!*lib)
        return;
    dlclose((*lib)->handle);
    free(*lib);
    *lib = NULL;
}

void pf_lib_keep(struct pf_lib **lib)
{
    free(*lib);
    *lib = NULL;
}
