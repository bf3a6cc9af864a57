/* pf_file.c (Windows) -- files read and written at offsets, by any number of threads,
 * and mapped as a whole. Every failure leaves errno set, of which pf_last_error makes
 * text. */
#include "platforms/platform.h"

#include "platforms/win32/pf_win32.h"
#include "runtime/include/erne.h"

#include <errno.h>
#include <stdlib.h>
#include <windows.h>

struct pf_file {
    HANDLE handle;
};

enum { IO_MAX = 1 << 30 }; /* a call moves less than 2^32 bytes */

int pf_file_open(struct pf_file **out, const char *path, enum pf_open_mode mode)
{
    DWORD access = mode == PF_READ ? GENERIC_READ : GENERIC_READ | GENERIC_WRITE;
    DWORD creation = mode == PF_WRITE_NEW ? CREATE_ALWAYS : OPEN_EXISTING;
    struct pf_file *file = malloc(sizeof(*file));
    wchar_t *wide = pf_wide(path);

    if (!file || !wide) {
        free(file);
        free(wide);
        return file ? ERNE_EIO : ERNE_ENOMEM;
    }
    /* Sharing as POSIX has it: an open file may be renamed and removed. */
    const DWORD share = FILE_SHARE_READ | FILE_SHARE_DELETE;

    file->handle =
        CreateFileW(wide, access, mode == PF_READ ? share | FILE_SHARE_WRITE : share,
                    NULL, creation, FILE_ATTRIBUTE_NORMAL, NULL);
    free(wide);
    if (file->handle == INVALID_HANDLE_VALUE) {
        free(file);
        return pf_fail_system();
    }
    *out = file;
    return 0;
}

void pf_file_close(struct pf_file **file)
{
    if (!*file)
        return;
    CloseHandle((*file)->handle);
    free(*file);
    *file = NULL;
}

int pf_file_size(struct pf_file *file, uint64_t *n_bytes)
{
    LARGE_INTEGER size;

    if (!GetFileSizeEx(file->handle, &size))
        return pf_fail_system();
    *n_bytes = (uint64_t)size.QuadPart;
    return 0;
}

int pf_file_changed(struct pf_file *file, uint64_t *ns)
{
    FILE_BASIC_INFO info;

    if (!GetFileInformationByHandleEx(file->handle, FileBasicInfo, &info, sizeof(info)))
        return pf_fail_system();
    *ns = (uint64_t)info.ChangeTime.QuadPart * 100; /* these count 100 ns */
    return 0;
}

int pf_file_resize(struct pf_file *file, uint64_t n_bytes)
{
    FILE_END_OF_FILE_INFO end;

    if (n_bytes > INT64_MAX)
        return pf_fail_with(EFBIG);
    end.EndOfFile.QuadPart = (LONGLONG)n_bytes;
    if (!SetFileInformationByHandle(file->handle, FileEndOfFileInfo, &end, sizeof(end)))
        return pf_fail_system();
    return 0;
}

/* An offset in an OVERLAPPED makes a call independent of the handle's own position. */
static OVERLAPPED at_offset(uint64_t offset)
{
    OVERLAPPED where = { 0 };

    where.Offset = (DWORD)(offset & 0xffffffffu);
    where.OffsetHigh = (DWORD)(offset >> 32);
    return where;
}

int pf_file_read_at(struct pf_file *file, void *dst, size_t n_bytes, uint64_t offset)
{
    uint8_t *at = dst;

    if (offset > INT64_MAX || n_bytes > INT64_MAX - offset)
        return pf_fail_with(EFBIG);
    while (n_bytes > 0) {
        OVERLAPPED where = at_offset(offset);
        DWORD n = 0;

        if (!ReadFile(file->handle, at, (DWORD)(n_bytes < IO_MAX ? n_bytes : IO_MAX), &n,
                      &where))
            return pf_fail_system();
        if (n == 0)
            return pf_fail_with(ENODATA);
        at += n;
        n_bytes -= n;
        offset += n;
    }
    return 0;
}

int pf_file_write_at(struct pf_file *file, const void *src, size_t n_bytes,
                     uint64_t offset)
{
    const uint8_t *at = src;

    if (offset > INT64_MAX || n_bytes > INT64_MAX - offset)
        return pf_fail_with(EFBIG);
    while (n_bytes > 0) {
        OVERLAPPED where = at_offset(offset);
        DWORD n = 0;

        if (!WriteFile(file->handle, at, (DWORD)(n_bytes < IO_MAX ? n_bytes : IO_MAX), &n,
                       &where))
            return pf_fail_system();
        at += n;
        n_bytes -= n;
        offset += n;
    }
    return 0;
}

int pf_file_sync(struct pf_file *file)
{
    return FlushFileBuffers(file->handle) ? 0 : pf_fail_system();
}

void pf_file_drop_cache(struct pf_file *file, uint64_t offset, uint64_t n_bytes)
{
    /* Windows offers this for a whole handle only, and trims its cache by itself. */
    (void)file;
    (void)offset;
    (void)n_bytes;
}

int pf_map_file(struct pf_map *map, struct pf_file *file)
{
    uint64_t n_bytes = 0;
    HANDLE mapping;
    void *data;
    int status = pf_file_size(file, &n_bytes);

    if (status < 0)
        return status;
    *map = (struct pf_map){ 0 };
    if (n_bytes == 0)
        return 0;
    if (n_bytes > SIZE_MAX)
        return pf_fail_with(EFBIG);
    mapping = CreateFileMappingW(file->handle, NULL, PAGE_READONLY, 0, 0, NULL);
    if (!mapping)
        return pf_fail_system();
    data = MapViewOfFile(mapping, FILE_MAP_READ, 0, 0, 0);
    if (!data)
        status = pf_fail_system();
    CloseHandle(mapping); /* the view keeps the mapping alive */
    if (data)
        *map = (struct pf_map){ .data = data, .n_bytes = (size_t)n_bytes };
    return status;
}

void pf_map_close(struct pf_map *map)
{
    if (map->data)
        UnmapViewOfFile(map->data);
    *map = (struct pf_map){ 0 };
}

void pf_map_sparse(const struct pf_map *map, size_t offset, size_t n_bytes, bool is_odd)
{
    /* Windows reads few pages on its own. */
    (void)map, (void)offset, (void)n_bytes, (void)is_odd;
}

void pf_map_ahead(const struct pf_map *map, size_t offset, size_t n_bytes)
{
    WIN32_MEMORY_RANGE_ENTRY range = { .VirtualAddress = (uint8_t *)map->data + offset,
                                       .NumberOfBytes = n_bytes };

    (void)PrefetchVirtualMemory(GetCurrentProcess(), 1, &range, 0);
}

void pf_map_forget(const struct pf_map *map, struct pf_file *file, size_t offset,
                   size_t n_bytes)
{
    const size_t page = pf_page_size();
    const size_t begin = (offset + page - 1) / page * page;
    const size_t end = (offset + n_bytes) / page * page;

    (void)file;
    /* Unlocking what was never locked takes it out of the working set. */
    if (begin < end)
        (void)VirtualUnlock((uint8_t *)map->data + begin, end - begin);
}
