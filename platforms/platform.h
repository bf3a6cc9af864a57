/* platform.h -- what erne needs of an operating system, and nothing more.
 *
 * Implemented once in platforms/posix and once in platforms/win32, in files of the same
 * names. No other folder includes a system header for files, memory maps, threads,
 * clocks or shared libraries. Functions that can fail return 0 or a negative status of
 * erne.h; texts are left to the caller, who knows the path (pf_last_error helps).
 */
#ifndef ERNE_PLATFORM_H
#define ERNE_PLATFORM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* ----------------------------------------------------------------- files */

struct pf_file;

enum pf_open_mode {
    PF_READ,          /* existing file */
    PF_WRITE_NEW,     /* create or truncate; read and write */
    PF_WRITE_EXISTING /* existing file, read and write, kept */
};

/* A file that is open to write cannot be opened to write again: EIO. */
int pf_file_open(struct pf_file **out, const char *path, enum pf_open_mode mode);
void pf_file_close(struct pf_file **file);
int pf_file_size(struct pf_file *file, uint64_t *n_bytes);
/* When it was last changed, or another put in its place, in ns of the system's calendar;
 * to be compared only. */
int pf_file_changed(struct pf_file *file, uint64_t *ns);
int pf_file_resize(struct pf_file *file, uint64_t n_bytes);
/* Exactly n_bytes at offset, or EIO. Safe from several threads at once. */
int pf_file_read_at(struct pf_file *file, void *dst, size_t n_bytes, uint64_t offset);
int pf_file_write_at(struct pf_file *file, const void *src, size_t n_bytes,
                     uint64_t offset);
/* Data reaches the disk before this returns. */
int pf_file_sync(struct pf_file *file);
/* Tells the system that a range was written or read and will not be needed again, so
 * that a long stream does not fill the page cache. A hint. */
void pf_file_drop_cache(struct pf_file *file, uint64_t offset, uint64_t n_bytes);

bool pf_path_exists(const char *path);
bool pf_path_is_dir(const char *path);
/* Neither a folder nor a device or pipe. */
bool pf_path_is_file(const char *path);
/* Whether both names lead to one file or folder that exists. */
bool pf_path_is_same(const char *a, const char *b);
/* Replaces `to` in one step. */
int pf_path_rename(const char *from, const char *to);
int pf_path_remove(const char *path);
/* The folder and those it is in, where they are not there yet. */
int pf_dir_create(const char *path);
/* An empty folder. */
int pf_dir_remove(const char *path);
/* Names in a folder, without "." and "..", sorted by bytes. Free with pf_dir_free. */
int pf_dir_list(const char *path, char ***names, size_t *n_names);
void pf_dir_free(char **names, size_t n_names);

/* The user's folder for files that can be made again: $XDG_CACHE_HOME or ~/.cache, on
 * Windows %LOCALAPPDATA%. EFAIL: unknown, or longer than cap. */
int pf_cache_dir(char *buf, size_t cap);
/* The file of the program that runs. EFAIL: the system does not say. */
int pf_program_path(char *buf, size_t cap);

/* Text of the last failed call of this thread; never NULL. */
const char *pf_last_error(void);

/* ---------------------------------------------------------------- memory */

struct pf_map {
    const uint8_t *data;
    size_t n_bytes;
};

/* Maps a whole file read-only. An empty file gives data == NULL and is no error. */
int pf_map_file(struct pf_map *map, struct pf_file *file);
void pf_map_close(struct pf_map *map);
/* Hints about a range: from now on nothing of it is read that nobody asked for; it will
 * be read soon, so that the system starts; it will not be, so that its memory is free for
 * others (read again, it comes from the file; pages that the range covers only in part
 * stay). Where ranges lie side by side, every second is_odd: then the system shows
 * nothing of one for the sake of the next. */
void pf_map_sparse(const struct pf_map *map, size_t offset, size_t n_bytes, bool is_odd);
void pf_map_ahead(const struct pf_map *map, size_t offset, size_t n_bytes);
void pf_map_forget(const struct pf_map *map, struct pf_file *file, size_t offset,
                   size_t n_bytes);

/* Zeroed pages from the system that cost memory only once touched. NULL on failure. */
void *pf_pages_alloc(size_t n_bytes);
void pf_pages_free(void *pages, size_t n_bytes);
/* Advice, for what is streamed: large pages where the system has them, which then cost
 * their memory a megabyte or two at a time. */
void pf_pages_large(void *pages, size_t n_bytes);
/* Gives the memory of whole pages back; they read as zero afterwards. */
void pf_pages_discard(void *pages, size_t n_bytes);
size_t pf_page_size(void);

/* Bytes of memory in the machine; that this process holds; most that it has held; 0 if
 * unknown. */
uint64_t pf_memory_total(void);
uint64_t pf_memory_now(void);
uint64_t pf_memory_peak(void);

/* --------------------------------------------------------------- threads */

struct pf_thread;
struct pf_mutex;
struct pf_cond;

int pf_thread_create(struct pf_thread **out, void (*fn)(void *arg), void *arg);
void pf_thread_join(struct pf_thread **thread);
/* Offers the core to another thread that could run. */
void pf_thread_yield(void);

int pf_mutex_create(struct pf_mutex **out);
void pf_mutex_destroy(struct pf_mutex **mutex);
void pf_mutex_lock(struct pf_mutex *mutex);
void pf_mutex_unlock(struct pf_mutex *mutex);

int pf_cond_create(struct pf_cond **out);
void pf_cond_destroy(struct pf_cond **cond);
void pf_cond_wait(struct pf_cond *cond, struct pf_mutex *mutex);
void pf_cond_broadcast(struct pf_cond *cond);

/* Cores this process may use: physical ones where the system tells, at least 1. */
int pf_cpu_count(void);
/* The processor's name for people; "unknown CPU" if the system does not tell. */
void pf_cpu_name(char *buf, size_t cap);
/* Whether this is a 64-bit ARM processor with the dot products of ARMv8.2. */
bool pf_cpu_has_arm_dot(void);
/* Whether it has the matrix products of bytes of ARMv8.6 (i8mm). */
bool pf_cpu_has_arm_i8mm(void);

/* ----------------------------------------------------------------- clock */

/* Monotonic time; only differences mean anything. */
uint64_t pf_time_ns(void);
void pf_sleep_us(uint64_t us);
/* 64 bits that differ between runs: the default seed of sampling. */
uint64_t pf_random_seed(void);

/* Runs fn in a copy of this process, which has what this one holds now, and ends with it;
 * out [n_bytes, at most 512] becomes what fn wrote there. Only while there are no other
 * threads. EFAIL: the copy came to nothing; EUNSUPPORTED: there are none. */
int pf_process_copy(void (*fn)(void *arg, void *out), void *arg, void *out,
                    size_t n_bytes);

/* ----------------------------------------------------------------- usage */

enum { PF_MAX_PACKAGES = 8 };

/* What the machine did until now, to subtract what it had done before. What the system
 * does not tell is 0. */
struct pf_usage {
    uint64_t time_ns;   /* pf_time_ns */
    uint64_t busy_ns;   /* all CPUs together worked, for whatever process */
    uint64_t own_ns;    /* of that for this process */
    uint64_t stolen_ns; /* wanted to work, but another virtual machine did */
    int n_cpus;
    double load;          /* processes that ran or waited, over the last minute */
    double mhz;           /* mean clock of the CPUs at this moment */
    uint64_t n_throttled; /* times that a core was slowed down for its heat */
    uint64_t energy_uj[PF_MAX_PACKAGES]; /* counters that start again at range_uj */
    uint64_t range_uj[PF_MAX_PACKAGES];
    int n_packages;
    double watts; /* at this moment, where there is no counter */
};

/* root: NULL, or a folder in which to look for proc and sys instead of / (for tests). */
void pf_usage_read(struct pf_usage *usage, const char *root);
/* Energy between two moments; 0 if unknown. */
double pf_usage_joules(const struct pf_usage *before, const struct pf_usage *after);

/* ------------------------------------------------- terminal, signals, dl */

bool pf_is_terminal(FILE *stream);
/* Calls fn on Ctrl-C, SIGINT, and on POSIX when the program is asked to end or its
 * terminal goes away, SIGTERM and SIGHUP (NULL: back to ending the program). fn runs in
 * signal context. Windows forgets fn after one call: install it before each stretch of
 * work. */
void pf_on_interrupt(void (*fn)(int signal));
/* Makes stdout and stderr carry UTF-8 where that is not the default, a write to a closed
 * pipe an ordinary error, and sees to it that no file takes the place of a stream that
 * was closed before the program started. */
void pf_console_init(void);

struct pf_lib;
int pf_lib_open(struct pf_lib **out, const char *name);
void *pf_lib_symbol(struct pf_lib *lib, const char *name);
void pf_lib_close(struct pf_lib **lib);
/* Closes, but leaves the library in the process: drivers do not unload cleanly. */
void pf_lib_keep(struct pf_lib **lib);

#endif
