/* pf_user.c (Windows) -- what belongs to the user: the one place that reads the
 * environment. */
#include "platforms/platform.h"

#include "platforms/win32/pf_win32.h"
#include "runtime/include/erne.h"

#include <windows.h>

int pf_cache_dir(char *buf, size_t cap)
{
    wchar_t wide[MAX_PATH];
    const DWORD n = GetEnvironmentVariableW(L"LOCALAPPDATA", wide, MAX_PATH);

    if (n == 0 || n >= MAX_PATH)
        return ERNE_EFAIL;
    return WideCharToMultiByte(CP_UTF8, 0, wide, -1, buf, (int)cap, NULL, NULL) > 0
               ? ERNE_OK
               : ERNE_EFAIL;
}

int pf_program_path(char *buf, size_t cap)
{
    wchar_t wide[MAX_PATH];
    const DWORD n = GetModuleFileNameW(NULL, wide, MAX_PATH);

    if (n == 0 || n >= MAX_PATH)
        return ERNE_EFAIL;
    return WideCharToMultiByte(CP_UTF8, 0, wide, -1, buf, (int)cap, NULL, NULL) > 0
               ? ERNE_OK
               : ERNE_EFAIL;
}
