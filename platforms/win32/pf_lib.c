/* pf_lib.c (Windows) -- shared libraries opened at run time, so that one binary
 * works with and without a GPU's loader. */
#include "platforms/platform.h"

#include "platforms/win32/pf_win32.h"
#include "runtime/include/erne.h"

#include <stdlib.h>
#include <string.h>
#include <windows.h>

struct pf_lib {
    HMODULE handle;
};

int pf_lib_open(struct pf_lib **out, const char *name)
{
    struct pf_lib *lib = malloc(sizeof(*lib));
    wchar_t *wide = pf_wide(name);
    int status = 0;

    if (!lib || !wide) {
        status = lib ? ERNE_EIO : ERNE_ENOMEM;
        goto fail;
    }
    lib->handle = LoadLibraryW(wide);
    if (!lib->handle) {
        status = pf_fail_system();
        goto fail;
    }
    free(wide);
    *out = lib;
    return 0;

fail:
    free(wide);
    free(lib);
    return status;
}

void *pf_lib_symbol(struct pf_lib *lib, const char *name)
{
    FARPROC symbol = GetProcAddress(lib->handle, name);
    void *address;

    /* ISO C has no cast from a function to an object pointer. */
    _Static_assert(sizeof(address) == sizeof(symbol), "pointers of one size");
    memcpy(&address, &symbol, sizeof(address));
    return address;
}

void pf_lib_close(struct pf_lib **lib)
{
    if (!*lib)
        return;
    FreeLibrary((*lib)->handle);
    free(*lib);
    *lib = NULL;
}

void pf_lib_keep(struct pf_lib **lib)
{
    free(*lib);
    *lib = NULL;
}
