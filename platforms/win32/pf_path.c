/* pf_path.c (Windows) -- names of files: folders, renaming, and the error text.
 * Windows' own error numbers become errno, so that no thread needs a buffer for texts. */
#include "platforms/platform.h"

#include "platforms/compiler.h"
#include "platforms/pf_names.h"
#include "platforms/win32/pf_win32.h"
#include "runtime/include/erne.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <windows.h>

int pf_fail_with(int code)
{
    errno = code;
    return ERNE_EIO;
}

int pf_fail_system(void)
{
    static const struct {
        DWORD system;
        int code;
    } map[] = {
        { ERROR_FILE_NOT_FOUND, ENOENT },    { ERROR_PATH_NOT_FOUND, ENOENT },
        { ERROR_MOD_NOT_FOUND, ENOENT },     { ERROR_INVALID_NAME, ENOENT },
        { ERROR_ACCESS_DENIED, EACCES },     { ERROR_SHARING_VIOLATION, EACCES },
        { ERROR_LOCK_VIOLATION, EACCES },    { ERROR_WRITE_PROTECT, EROFS },
        { ERROR_ALREADY_EXISTS, EEXIST },    { ERROR_FILE_EXISTS, EEXIST },
        { ERROR_DISK_FULL, ENOSPC },         { ERROR_HANDLE_DISK_FULL, ENOSPC },
        { ERROR_HANDLE_EOF, ENODATA },       { ERROR_NOT_ENOUGH_MEMORY, ENOMEM },
        { ERROR_TOO_MANY_OPEN_FILES, EMFILE }, { ERROR_DIRECTORY, ENOTDIR },
    };
    DWORD system = GetLastError();

    for (size_t i = 0; i < ERNE_ARRAY_LEN(map); i++)
        if (map[i].system == system)
            return pf_fail_with(map[i].code);
    return pf_fail_with(EIO);
}

wchar_t *pf_wide(const char *path)
{
    int n = MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, path, -1, NULL, 0);
    wchar_t *wide = n > 0 ? malloc((size_t)n * sizeof(*wide)) : NULL;

    if (!wide) {
        errno = n > 0 ? ENOMEM : EILSEQ;
        return NULL;
    }
    MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, path, -1, wide, n);
    return wide;
}

/* Attributes of the path, or INVALID_FILE_ATTRIBUTES. */
static DWORD attributes(const char *path)
{
    wchar_t *wide = pf_wide(path);
    DWORD bits = wide ? GetFileAttributesW(wide) : INVALID_FILE_ATTRIBUTES;

    free(wide);
    return bits;
}

bool pf_path_exists(const char *path)
{
    return attributes(path) != INVALID_FILE_ATTRIBUTES;
}

bool pf_path_is_dir(const char *path)
{
    DWORD bits = attributes(path);

    return bits != INVALID_FILE_ATTRIBUTES && (bits & FILE_ATTRIBUTE_DIRECTORY);
}

bool pf_path_is_file(const char *path)
{
    DWORD bits = attributes(path);

    return bits != INVALID_FILE_ATTRIBUTES &&
           !(bits & (FILE_ATTRIBUTE_DIRECTORY | FILE_ATTRIBUTE_DEVICE));
}

static bool identify(const char *path, BY_HANDLE_FILE_INFORMATION *info)
{
    wchar_t *wide = pf_wide(path);
    HANDLE handle = INVALID_HANDLE_VALUE;
    bool found;

    if (wide)
        handle = CreateFileW(wide, 0, FILE_SHARE_READ | FILE_SHARE_WRITE, NULL,
                             OPEN_EXISTING, FILE_FLAG_BACKUP_SEMANTICS, NULL);
    free(wide);
    found = handle != INVALID_HANDLE_VALUE && GetFileInformationByHandle(handle, info);
    if (handle != INVALID_HANDLE_VALUE)
        CloseHandle(handle);
    return found;
}

bool pf_path_is_same(const char *a, const char *b)
{
    BY_HANDLE_FILE_INFORMATION x, y;

    return identify(a, &x) && identify(b, &y) &&
           x.dwVolumeSerialNumber == y.dwVolumeSerialNumber &&
           x.nFileIndexHigh == y.nFileIndexHigh && x.nFileIndexLow == y.nFileIndexLow;
}

int pf_path_rename(const char *from, const char *to)
{
    wchar_t *wide_from = pf_wide(from), *wide_to = pf_wide(to);
    int status = ERNE_EIO;

    if (wide_from && wide_to)
        status = MoveFileExW(wide_from, wide_to, MOVEFILE_REPLACE_EXISTING)
                     ? 0
                     : pf_fail_system();
    free(wide_from);
    free(wide_to);
    return status;
}

int pf_path_remove(const char *path)
{
    wchar_t *wide = pf_wide(path);
    int status = ERNE_EIO;

    if (wide)
        status = DeleteFileW(wide) ? 0 : pf_fail_system();
    free(wide);
    return status;
}

int pf_dir_create(const char *path)
{
    wchar_t *wide = pf_wide(path);
    int status = wide ? 0 : ERNE_EIO;

    for (wchar_t *at = wide; status == 0 && *at; at++)
        if (at[1] == L'/' || at[1] == L'\\' || at[1] == L'\0') {
            const wchar_t end = at[1];

            at[1] = L'\0'; /* a drive, "C:", cannot be made and need not be */
            if (*at != L':' && !CreateDirectoryW(wide, NULL) &&
                GetLastError() != ERROR_ALREADY_EXISTS)
                status = pf_fail_system();
            at[1] = end;
        }
    free(wide);
    return status;
}

int pf_dir_remove(const char *path)
{
    wchar_t *wide = pf_wide(path);
    int status = ERNE_EIO;

    if (wide)
        status = RemoveDirectoryW(wide) ? 0 : pf_fail_system();
    free(wide);
    return status;
}

/* The name as UTF-8, malloc'ed; NULL when out of memory. */
static char *utf8_of(const wchar_t *name)
{
    int n_bytes = WideCharToMultiByte(CP_UTF8, 0, name, -1, NULL, 0, NULL, NULL);
    char *text = malloc((size_t)n_bytes);

    if (text)
        WideCharToMultiByte(CP_UTF8, 0, name, -1, text, n_bytes, NULL, NULL);
    return text;
}

/* The search pattern of all names in a folder, malloc'ed; NULL with errno set. */
static wchar_t *pattern_of(const char *path)
{
    size_t n = strlen(path);
    char *text = malloc(n + 3);
    wchar_t *wide;

    if (!text)
        return NULL;
    memcpy(text, path, n);
    memcpy(text + n, "\\*", 3);
    wide = pf_wide(text);
    free(text);
    return wide;
}

int pf_dir_list(const char *path, char ***names, size_t *n_names)
{
    wchar_t *pattern = pattern_of(path);
    WIN32_FIND_DATAW entry;
    HANDLE find;
    struct pf_names found = { 0 };
    int status = 0;

    if (!pattern)
        return ERNE_EIO;
    find = FindFirstFileW(pattern, &entry);
    free(pattern);
    if (find == INVALID_HANDLE_VALUE)
        return pf_fail_system();
    do {
        status = pf_names_add(&found, utf8_of(entry.cFileName));
    } while (status == 0 && FindNextFileW(find, &entry));
    if (status == 0 && GetLastError() != ERROR_NO_MORE_FILES)
        status = pf_fail_system();
    FindClose(find);
    if (status < 0)
        pf_dir_free(found.list, found.n);
    else
        pf_names_finish(&found, names, n_names);
    return status;
}

const char *pf_last_error(void)
{
    return strerror(errno);
}
