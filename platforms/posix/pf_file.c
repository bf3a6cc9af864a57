/* pf_file.c (POSIX) -- files read and written at offsets, by any number of threads,
 * and mapped as a whole. Every failure leaves errno set, of which pf_last_error makes
 * text. */
#include "platforms/platform.h"

#include "runtime/include/erne.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct pf_file {
    int fd;
};

/* Linux moves at most 2^31 - 4096 bytes a call; asking for less hides that. */
enum { IO_MAX = 1 << 30 };

static int fail_with(int code)
{
    errno = code;
    return ERNE_EIO;
}

/* False when another has the file open to write, or when path means another file by now,
 * as that writer was done and renamed it. File systems that cannot lock do not. */
static bool lock(int fd, const char *path, const struct stat *opened)
{
    const bool taken = flock(fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK;
    struct stat now;

    if (!taken && stat(path, &now) == 0 && now.st_dev == opened->st_dev &&
        now.st_ino == opened->st_ino)
        return true;
    errno = EBUSY;
    return false;
}

int pf_file_open(struct pf_file **out, const char *path, enum pf_open_mode mode)
{
    static const int flags[] = {
        [PF_READ] = O_RDONLY | O_NONBLOCK, /* for pipes, see below */
        [PF_WRITE_NEW] = O_RDWR | O_CREAT, /* emptied when it is ours */
        [PF_WRITE_EXISTING] = O_RDWR,
    };
    struct pf_file *file = malloc(sizeof(*file));
    struct stat st;
    int code;

    if (!file)
        return ERNE_ENOMEM;
    file->fd = open(path, flags[mode] | O_CLOEXEC, 0666);
    if (file->fd < 0 || fstat(file->fd, &st) < 0)
        goto fail;
    if (S_ISDIR(st.st_mode)) { /* could be opened, and then fail at each read */
        errno = EISDIR;
        goto fail;
    }
    if (S_ISFIFO(st.st_mode)) { /* has no offsets, and may wait for ever for a writer */
        errno = ESPIPE;
        goto fail;
    }
    if (mode != PF_READ && !lock(file->fd, path, &st))
        goto fail;
    if (mode == PF_WRITE_NEW && ftruncate(file->fd, 0) < 0)
        goto fail;
    *out = file;
    return 0;

fail:
    code = errno;
    if (file->fd >= 0)
        close(file->fd);
    free(file);
    return fail_with(code);
}

void pf_file_close(struct pf_file **file)
{
    if (!*file)
        return;
    close((*file)->fd);
    free(*file);
    *file = NULL;
}

int pf_file_size(struct pf_file *file, uint64_t *n_bytes)
{
    struct stat st;

    if (fstat(file->fd, &st) < 0)
        return ERNE_EIO;
    *n_bytes = (uint64_t)st.st_size;
    return 0;
}

int pf_file_changed(struct pf_file *file, uint64_t *ns)
{
    struct stat st;

    if (fstat(file->fd, &st) < 0)
        return ERNE_EIO;
    *ns = (uint64_t)st.st_ctim.tv_sec * 1000000000u + (uint64_t)st.st_ctim.tv_nsec;
    return 0;
}

int pf_file_resize(struct pf_file *file, uint64_t n_bytes)
{
    if (n_bytes > INT64_MAX)
        return fail_with(EFBIG);
    return ftruncate(file->fd, (off_t)n_bytes) < 0 ? ERNE_EIO : 0;
}

int pf_file_read_at(struct pf_file *file, void *dst, size_t n_bytes, uint64_t offset)
{
    uint8_t *at = dst;

    if (offset > INT64_MAX || n_bytes > INT64_MAX - offset)
        return fail_with(EFBIG);
    while (n_bytes > 0) {
        ssize_t n =
            pread(file->fd, at, n_bytes < IO_MAX ? n_bytes : IO_MAX, (off_t)offset);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return ERNE_EIO;
        if (n == 0) /* the file ends before the range does */
            return fail_with(ENODATA);
        at += n;
        n_bytes -= (size_t)n;
        offset += (uint64_t)n;
    }
    return 0;
}

int pf_file_write_at(struct pf_file *file, const void *src, size_t n_bytes,
                     uint64_t offset)
{
    const uint8_t *at = src;

    if (offset > INT64_MAX || n_bytes > INT64_MAX - offset)
        return fail_with(EFBIG);
    while (n_bytes > 0) {
        ssize_t n =
            pwrite(file->fd, at, n_bytes < IO_MAX ? n_bytes : IO_MAX, (off_t)offset);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return ERNE_EIO;
        at += n;
        n_bytes -= (size_t)n;
        offset += (uint64_t)n;
    }
    return 0;
}

int pf_file_sync(struct pf_file *file)
{
    return fsync(file->fd) < 0 ? ERNE_EIO : 0;
}

void pf_file_drop_cache(struct pf_file *file, uint64_t offset, uint64_t n_bytes)
{
    int keep = errno;

    if (offset > INT64_MAX || n_bytes > INT64_MAX - offset)
        return;
#ifdef __linux__
    /* Dirty pages cannot be dropped: start writing them, so that the next call can. */
    (void)sync_file_range(file->fd, (off_t)offset, (off_t)n_bytes, SYNC_FILE_RANGE_WRITE);
#endif
    (void)posix_fadvise(file->fd, (off_t)offset, (off_t)n_bytes, POSIX_FADV_DONTNEED);
    errno = keep;
}

int pf_map_file(struct pf_map *map, struct pf_file *file)
{
    uint64_t n_bytes;
    void *data;
    int status = pf_file_size(file, &n_bytes);

    if (status < 0)
        return status;
    *map = (struct pf_map){ 0 };
    if (n_bytes == 0)
        return 0;
    if (n_bytes > SIZE_MAX)
        return fail_with(EFBIG);
    data = mmap(NULL, (size_t)n_bytes, PROT_READ, MAP_SHARED, file->fd, 0);
    if (data == MAP_FAILED)
        return ERNE_EIO;
#ifdef MADV_HUGEPAGE
    /* Advice: where the file system can, large pages from the first read on. Weights are
     * streamed, and walking small pages costs a good part of the speed. */
    (void)madvise(data, (size_t)n_bytes, MADV_HUGEPAGE);
#endif
    *map = (struct pf_map){ .data = data, .n_bytes = (size_t)n_bytes };
    return 0;
}

void pf_map_close(struct pf_map *map)
{
    if (map->data)
        munmap((void *)map->data, map->n_bytes);
    *map = (struct pf_map){ 0 };
}

/* madvise takes whole pages, and leaves errno, which is the caller's, alone here. */
static void advise(const struct pf_map *map, size_t begin, size_t end, int advice)
{
    const int keep = errno;

    if (begin < end)
        (void)madvise((uint8_t *)map->data + begin, end - begin, advice);
    errno = keep;
}

void pf_map_sparse(const struct pf_map *map, size_t offset, size_t n_bytes, bool is_odd)
{
    const size_t begin = offset / pf_page_size() * pf_page_size();

    advise(map, begin, offset + n_bytes, MADV_RANDOM);
#ifdef MADV_NOHUGEPAGE
    advise(map, begin, offset + n_bytes, MADV_NOHUGEPAGE);
#endif
    /* Linux shows up to 16 pages for one that is read, but not beyond the mapping, which
     * ends where the advice changes. What is in a core dump matters to nobody here: a
     * mapping of a file is not. */
#if defined(MADV_DONTDUMP) && defined(MADV_DODUMP)
    advise(map, begin, offset + n_bytes, is_odd ? MADV_DONTDUMP : MADV_DODUMP);
#else
    (void)is_odd;
#endif
}

void pf_map_ahead(const struct pf_map *map, size_t offset, size_t n_bytes)
{
    /* Linux reads no more a call than a disk's read-ahead, of which this is the usual. */
    const size_t piece = (size_t)128 << 10, end = offset + n_bytes;

    for (size_t at = offset / piece * piece; at < end; at += piece)
        advise(map, at, at + piece < end ? at + piece : end, MADV_WILLNEED);
}

void pf_map_forget(const struct pf_map *map, struct pf_file *file, size_t offset,
                   size_t n_bytes)
{
    /* Linux shows a process pages around those that it reads, too: these go with it. */
    const size_t page = pf_page_size(), around = 16 * page;
    const size_t begin = (offset + page - 1) / page * page;
    const size_t end = (offset + n_bytes) / page * page;

    advise(map, begin < around ? 0 : begin - around,
           end + around < map->n_bytes ? end + around : map->n_bytes, MADV_DONTNEED);
    if (begin < end)
        pf_file_drop_cache(file, begin, end - begin);
}
