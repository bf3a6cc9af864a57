/* convert_run.c -- row blocks of all tensors, made by a pool of threads.
 *
 * A block (64 rows; more where the checkpoint has them as columns) depends on its own
 * rows only, is written where it belongs at once and forgotten: memory is one block a
 * thread, and the bytes do not depend on who made what. Hashes go over a tensor's planes
 * in order, while blocks are ready in any order and each plane gets a piece of every
 * block; so the thread that completes a tensor reads it back, from the page cache as a
 * rule, and hashes what was really written.
 */
#include "converters/convert.h"

#include <assert.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "converters/calibrate.h"
#include "quantize/gptq.h"
#include "quantize/tile64.h"
#include "runtime/arena.h"

enum { HASH_BYTES = 1 << 20, ALIGN = 64 };
enum { SAMPLE_STRIDE = 8 }; /* of so many blocks of a tensor one is made for a sample */

struct convert_worker {
    struct pool *pool;
    struct pf_thread *thread;
    struct erne_arena arena;
    /* For the largest block: [rows, k] values, [64, k] codes, f16 scales and minima of 32
     * inputs each, the three planes of a tile, one decoded row [k], and room to hash. */
    float *rows, *scratch;
    struct source_codes codes;
    struct tile64_block block;
    float *decoded;
    void *gptq; /* room for gptq_encode */
    uint8_t *hash_buf;
};

struct pool {
    const struct convert_plan *plan;
    struct erne_model_writer *writer; /* NULL: a sample */
    struct pf_mutex *mutex;           /* guards all below */
    struct pf_cond *changed;
    size_t tensor;               /* the next job: this tensor, */
    int64_t block;               /* this block */
    int64_t *left;               /* [plan->n] blocks that are not written yet */
    struct convert_loss *losses; /* of all tiles: each is written by one thread */
    size_t *first_tile;          /* [plan->n + 1] in it */
    uint64_t done_bytes;
    size_t last_tensor; /* for progress */
    int n_running;
    bool stop;
    int status; /* of the first failure */
    struct erne_error err;
};

struct job {
    size_t tensor;
    int64_t block;
};

/* ---------------------------------------------------------------- buffers */

struct sizes {
    uint64_t elements; /* of a block */
    uint64_t packed;   /* of a block whose codes are taken over */
    uint64_t scratch;  /* floats: to read a block */
    uint64_t k, codes, scales, minima;
    uint64_t gptq; /* bytes */
};

static void grow(uint64_t *size, uint64_t to)
{
    if (*size < to)
        *size = to;
}

static struct sizes largest_block(const struct convert_tensor *tensors, size_t n)
{
    struct sizes s = { 0 };

    for (size_t i = 0; i < n; i++) {
        const struct convert_tensor *t = &tensors[i];
        const uint64_t k = (uint64_t)t->layout->k;
        size_t codes, scales, minima;

        grow(&s.elements, (uint64_t)t->block_rows * k);
        grow(&s.scratch, layout_scratch(t->layout, t->block_rows));
        grow(&s.k, k);
        if (t->how == CONVERT_COPY)
            continue;
        if (t->how == CONVERT_PACK)
            grow(&s.packed, (uint64_t)t->block_rows * k);
        if (t->is_calibrated)
            grow(&s.gptq, gptq_work_bytes(t->scheme, t->layout->k));
        tile64_block_bytes(&t->planes, &codes, &scales, &minima);
        grow(&s.codes, codes);
        grow(&s.scales, scales);
        grow(&s.minima, minima);
    }
    return s;
}

/* Divides the arena; with an arena that only counts, says how large it must be. */
static void lay_out(struct convert_worker *w, const struct sizes *s)
{
    const size_t n_scales = (size_t)(s->packed / BLOCK_CODES + ERNE_TILE_ROWS);
    struct erne_arena *a = &w->arena;

    w->rows = erne_arena_push(a, (size_t)s->elements * sizeof(float), ALIGN);
    w->scratch = erne_arena_push(a, (size_t)s->scratch * sizeof(float), ALIGN);
    w->codes.scratch = w->rows;
    w->codes.codes = erne_arena_push(a, (size_t)s->packed, ALIGN);
    w->codes.scales = erne_arena_push(a, n_scales * sizeof(uint16_t), ALIGN);
    w->codes.minima = erne_arena_push(a, n_scales * sizeof(uint16_t), ALIGN);
    w->block.codes = erne_arena_push(a, (size_t)s->codes, ALIGN);
    w->block.scales = erne_arena_push(a, (size_t)s->scales, ALIGN);
    w->block.minima = erne_arena_push(a, (size_t)s->minima, ALIGN);
    w->decoded = erne_arena_push(a, (size_t)s->k * sizeof(float), ALIGN);
    w->gptq = erne_arena_push(a, (size_t)s->gptq, ALIGN);
    w->hash_buf = erne_arena_push(a, HASH_BYTES, ALIGN);
}

uint64_t convert_worker_bytes(const struct convert_tensor *tensors, size_t n)
{
    const struct sizes s = largest_block(tensors, n);
    struct convert_worker counting = { 0 };

    lay_out(&counting, &s);
    return counting.arena.used;
}

/* ----------------------------------------------------------------- blocks */

/* What rounding cost this tile; rows: the values before. cost: as gptq_encode has it. */
static struct convert_loss measure(struct convert_worker *w,
                                   const struct convert_tensor *t, const float *rows,
                                   int n_rows, const double *cost)
{
    const int64_t k = t->layout->k;
    struct convert_loss loss = { 0 };

    for (int row = 0; row < n_rows; row++) {
        const float *ref = rows + row * k;

        tile64_decode_row(w->decoded, t->scheme, &t->planes, w->block.codes,
                          w->block.scales, w->block.minima, row, k);
        for (int64_t i = 0; i < k; i++) {
            const double d = (double)w->decoded[i] - (double)ref[i];

            loss.err2 += d * d;
            loss.ref2 += (double)ref[i] * (double)ref[i];
        }
    }
    loss.cost = cost ? *cost : loss.err2;
    return loss;
}

/* f16 scales of damaged files may be infinite, which would make NaN of a whole row. */
static bool scales_are_finite(const uint16_t *scales, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if ((scales[i] & 0x7c00) == 0x7c00)
            return false;
    return true;
}

static int pack_block(struct convert_worker *w, const struct convert_tensor *t,
                      int64_t first, int n_rows, struct erne_error *err)
{
    const struct layout *layout = t->layout;
    const int64_t n_scales = n_rows * (layout->k / BLOCK_CODES);

    ERNE_TRY(
        layout_read_codes(layout, w->pool->plan->src, first, n_rows, &w->codes, err));
    if (!scales_are_finite(w->codes.scales, n_scales) ||
        (t->scheme.asym && !scales_are_finite(w->codes.minima, n_scales)))
        return ERNE_EINVAL;
    tile64_pack(&w->block, t->scheme, &t->planes, w->codes.codes, w->codes.scales,
                t->scheme.asym ? w->codes.minima : NULL, n_rows, layout->k);
    return ERNE_OK;
}

/* Names a row by the checkpoint's tensor that it came from, and that tensor's file. */
static int fail_row(const struct convert_worker *w, const struct convert_tensor *t,
                    int64_t row, struct erne_error *err)
{
    const struct source *src = w->pool->plan->src;
    const struct layout_part *part = layout_find_row(t->layout, row, &row);

    return erne_fail(err, ERNE_EFORMAT,
                     "%s: %s: %s %lld is not finite, or not in the range of its scheme",
                     src->files[part->t->file].path, part->t->stored,
                     t->layout->k == 1 ? "weight" : "a weight in row", (long long)row);
}

/* What is known of the tensor's inputs, or NULL. */
static const float *factor_of(const struct convert_worker *w,
                              const struct convert_tensor *t)
{
    const struct convert_plan *plan = w->pool->plan;

    return t->is_calibrated && plan->calibration
               ? calibration_factor(plan->calibration, (size_t)(t - plan->tensors))
               : NULL;
}

/* One tile of a block: n_rows rows from `first`, their values at `rows`. EINVAL: the
 * scheme cannot hold one of the weights. */
static int encode_tile(struct convert_worker *w, const struct convert_tensor *t,
                       int64_t first, const float *rows, int n_rows, double *cost,
                       struct erne_error *err)
{
    const float *factor = factor_of(w, t);

    if (t->how == CONVERT_PACK)
        return pack_block(w, t, first, n_rows, err);
    if (factor) {
        const struct gptq_call call = { t->scheme, &t->planes, factor, w->gptq, cost };

        return gptq_encode(&w->block, &call, rows, n_rows, t->layout->k);
    }
    return tile64_encode(&w->block, t->scheme, &t->planes, rows, n_rows, t->layout->k);
}

static int make_tile(struct convert_worker *w, const struct convert_tensor *t,
                     int64_t first, const float *rows, int n_rows, struct erne_error *err)
{
    double cost = 0.0;
    int st = encode_tile(w, t, first, rows, n_rows, &cost, err);

    if (st == ERNE_EINVAL) { /* one by one: which was it? */
        int row = 0;

        while (row + 1 < n_rows &&
               encode_tile(w, t, first + row, rows + row * t->layout->k, 1, &cost, err) !=
                   ERNE_EINVAL)
            row++;
        return fail_row(w, t, first + row, err);
    }
    if (st == 0 && t->how == CONVERT_ROUND) {
        const size_t tile = w->pool->first_tile[t - w->pool->plan->tensors] +
                            (size_t)(first / ERNE_TILE_ROWS);

        w->pool->losses[tile] =
            measure(w, t, rows, n_rows, factor_of(w, t) ? &cost : NULL);
    }
    return st;
}

/* A norm or a bias as it is: its elements are rows. */
static int make_copy(struct convert_worker *w, const struct convert_tensor *t,
                     struct erne_error *err)
{
    const int64_t n = t->layout->n, k = t->layout->k;

    for (int64_t i = 0; i < n * k; i++)
        if (!isfinite(w->rows[i]))
            return fail_row(w, t, i / k, err);
    return ERNE_OK;
}

/* Writes one plane's piece of a tile. */
static int write_piece(struct convert_worker *w, size_t tensor, int64_t tile,
                       uint64_t plane_offset, const void *data, size_t n_bytes,
                       struct erne_error *err)
{
    if (n_bytes == 0 || !w->pool->writer)
        return ERNE_OK;
    return erne_writer_write(w->pool->writer, tensor,
                             plane_offset + (uint64_t)tile * n_bytes, data, n_bytes, err);
}

static int convert_tile(struct convert_worker *w, size_t tensor, int64_t tile,
                        const float *rows, struct erne_error *err)
{
    const struct convert_tensor *t = &w->pool->plan->tensors[tensor];
    const int64_t first = tile * ERNE_TILE_ROWS, left = t->layout->n - first;
    size_t codes, scales, minima;

    tile64_block_bytes(&t->planes, &codes, &scales, &minima);
    ERNE_TRY(make_tile(w, t, first, rows,
                       left < ERNE_TILE_ROWS ? (int)left : (int)ERNE_TILE_ROWS, err));
    ERNE_TRY(write_piece(w, tensor, tile, 0, w->block.codes, codes, err));
    ERNE_TRY(write_piece(w, tensor, tile, t->planes.scales_offset, w->block.scales,
                         scales, err));
    return write_piece(w, tensor, tile, t->planes.minima_offset, w->block.minima, minima,
                       err);
}

/* Between the tiles of a block, which may be many: wakes who waits for the workers, and
 * hears whether to go on. */
static int draw_breath(struct pool *pool)
{
    bool stop;

    pf_mutex_lock(pool->mutex);
    pf_cond_broadcast(pool->changed);
    stop = pool->stop;
    pf_mutex_unlock(pool->mutex);
    return stop ? ERNE_ECANCELLED : ERNE_OK;
}

static int convert_block(struct convert_worker *w, struct job job, struct erne_error *err)
{
    const struct convert_tensor *t = &w->pool->plan->tensors[job.tensor];
    const int64_t first = job.block * t->block_rows, left = t->layout->n - first;
    const int64_t n_rows = left < t->block_rows ? left : t->block_rows;

    if (t->how != CONVERT_PACK)
        ERNE_TRY(layout_read_rows(t->layout, w->pool->plan->src, first, n_rows, w->rows,
                                  w->scratch, err));
    if (t->how == CONVERT_COPY) {
        ERNE_TRY(make_copy(w, t, err));
        return write_piece(w, job.tensor, 0, 0, w->rows, (size_t)t->planes.total_bytes,
                           err);
    }
    for (int64_t row = 0; row < n_rows; row += ERNE_TILE_ROWS) {
        if (row > 0)
            ERNE_TRY(draw_breath(w->pool));
        ERNE_TRY(convert_tile(w, job.tensor, (first + row) / ERNE_TILE_ROWS,
                              w->rows + row * t->layout->k, err));
    }
    return ERNE_OK;
}

/* ---------------------------------------------------------------- tensors */

/* The checkpoint's bytes of a finished tensor need not stay in the page cache. */
static void drop_source(const struct convert_plan *plan, const struct layout *layout)
{
    for (int i = 0; i < layout->n_parts; i++) {
        const struct source_tensor *t = layout->parts[i].t;

        if (t)
            pf_file_drop_cache(plan->src->files[t->file].file, t->offset, t->n_bytes);
    }
}

/* Tile by tile, so that it does not matter who made them. */
static struct convert_loss sum_loss(const struct pool *pool, size_t tensor)
{
    struct convert_loss sum = { 0 };

    for (size_t t = pool->first_tile[tensor]; t < pool->first_tile[tensor + 1]; t++)
        convert_loss_add(&sum, &pool->losses[t]);
    return sum;
}

/* What the file is to say of a tensor of which all tiles are made. */
static struct erne_tensor_report make_report(const struct pool *pool, size_t tensor)
{
    const struct calibration *c = pool->plan->calibration;

    return (struct erne_tensor_report){
        .is_known = true,
        .error = convert_narrow(convert_error(sum_loss(pool, tensor))),
        .n_tokens = c ? (uint32_t)calibration_reached(c, tensor) : 0,
    };
}

static int complete_tensor(struct convert_worker *w, size_t tensor,
                           struct erne_error *err)
{
    const struct convert_plan *plan = w->pool->plan;
    const uint64_t n_bytes = plan->tensors[tensor].planes.total_bytes;
    const struct erne_tensor_report report = make_report(w->pool, tensor);
    XXH3_state_t *state = XXH3_createState();
    uint64_t hash;
    int st = ERNE_OK;

    if (!state)
        return erne_fail(err, ERNE_ENOMEM, "out of memory");
    XXH3_64bits_reset(state);
    for (uint64_t at = 0; at < n_bytes && st == 0; at += HASH_BYTES) {
        const uint64_t left = n_bytes - at;
        const size_t n = left < HASH_BYTES ? (size_t)left : HASH_BYTES;

        st = erne_writer_read(w->pool->writer, tensor, at, w->hash_buf, n, err);
        XXH3_64bits_update(state, w->hash_buf, n);
    }
    hash = XXH3_64bits_digest(state);
    XXH3_freeState(state);
    if (st == 0)
        st = erne_writer_tensor_done(w->pool->writer, tensor, hash, &report, err);
    if (st == 0)
        drop_source(plan, plan->tensors[tensor].layout);
    return st;
}

/* ---------------------------------------------------------------- threads */

/* Takes the next block in file order. The mutex is held. */
static bool take_job(struct pool *pool, struct job *job)
{
    while (pool->tensor < pool->plan->n &&
           (pool->left[pool->tensor] == 0 ||
            pool->block >= pool->plan->tensors[pool->tensor].n_blocks)) {
        pool->tensor++;
        pool->block = 0;
    }
    if (pool->stop || pool->tensor == pool->plan->n)
        return false;
    *job = (struct job){ pool->tensor, pool->block };
    pool->block += pool->writer ? 1 : SAMPLE_STRIDE;
    return true;
}

/* The block's share of its tensor, which padding does not divide evenly. */
static uint64_t block_bytes(const struct convert_tensor *t, int64_t block)
{
    const uint64_t n = (uint64_t)t->n_blocks, each = t->planes.total_bytes / n;

    return block + 1 < t->n_blocks ? each : t->planes.total_bytes - each * (n - 1);
}

/* One block, and the end of its tensor where it was the last. Takes and leaves the mutex
 * held. */
static int do_job(struct convert_worker *w, struct job job, struct erne_error *err)
{
    struct pool *pool = w->pool;
    bool last;
    int st;

    pf_mutex_unlock(pool->mutex);
    st = convert_block(w, job, err);
    pf_mutex_lock(pool->mutex);
    if (st < 0)
        return st;
    pool->done_bytes += block_bytes(&pool->plan->tensors[job.tensor], job.block);
    pool->last_tensor = job.tensor;
    last = pool->left[job.tensor] == 1 && pool->writer;
    if (!last) {
        pool->left[job.tensor]--;
        return ERNE_OK;
    }
    pf_mutex_unlock(pool->mutex);
    st = complete_tensor(w, job.tensor, err);
    pf_mutex_lock(pool->mutex);
    return st;
}

static void work(void *arg)
{
    struct convert_worker *w = arg;
    struct pool *pool = w->pool;
    struct erne_error err = { 0 };
    struct job job;

    pf_mutex_lock(pool->mutex);
    while (take_job(pool, &job)) {
        const int st = do_job(w, job, &err);

        if (st < 0 && pool->status == 0) {
            pool->status = st;
            pool->err = err;
        }
        pool->stop = pool->stop || st < 0;
        pf_cond_broadcast(pool->changed);
    }
    pool->n_running--;
    pf_cond_broadcast(pool->changed);
    pf_mutex_unlock(pool->mutex);
}

/* Tells the caller how far the workers are. The mutex is held, but not meanwhile. */
static void tell(struct pool *pool)
{
    const uint64_t done = pool->done_bytes, total = pool->plan->data_bytes;
    const char *name = pool->plan->records[pool->last_tensor].name;
    struct erne_error err = { 0 };
    int st;

    pf_mutex_unlock(pool->mutex);
    st = pulse_tell(pool->plan->pulse, done, total, name, &err);
    pf_mutex_lock(pool->mutex);
    if (st == 0)
        return;
    pool->stop = true;
    if (pool->status == 0) {
        pool->status = st;
        pool->err = err;
    }
}

/* Waits for the workers in the thread of the caller, who wants progress there: at every
 * thousandth of the work, whenever that takes long, and when all is done. */
static void watch(struct pool *pool)
{
    const double total = (double)pool->plan->data_bytes;
    int told = -1, now;

    pf_mutex_lock(pool->mutex);
    for (;;) {
        now = (int)(1000 * (double)pool->done_bytes / total);
        if (!pool->stop &&
            (told != now || (now < 1000 && pulse_is_due(pool->plan->pulse)))) {
            told = now;
            tell(pool);
        } else if (pool->n_running > 0) {
            pf_cond_wait(pool->changed, pool->mutex);
        } else {
            break;
        }
    }
    pf_mutex_unlock(pool->mutex);
}

/* -------------------------------------------------------------------- run */

static size_t count_tiles(const struct convert_tensor *t)
{
    return (size_t)((t->layout->n + ERNE_TILE_ROWS - 1) / ERNE_TILE_ROWS);
}

static int pool_init(struct pool *pool, struct convert_stats *stats,
                     struct erne_error *err)
{
    const struct convert_plan *plan = pool->plan;
    size_t n_tiles = 0;

    pool->left = calloc(plan->n, sizeof(*pool->left));
    pool->first_tile = calloc(plan->n + 1, sizeof(*pool->first_tile));
    for (size_t i = 0; pool->first_tile && i < plan->n; i++) {
        n_tiles += count_tiles(&plan->tensors[i]);
        pool->first_tile[i + 1] = n_tiles;
    }
    pool->losses = calloc(n_tiles + 1, sizeof(*pool->losses));
    if (!pool->left || !pool->first_tile || !pool->losses ||
        pf_mutex_create(&pool->mutex) < 0 || pf_cond_create(&pool->changed) < 0)
        return erne_fail(err, ERNE_ENOMEM, "out of memory");
    for (size_t i = 0; i < plan->n; i++) {
        pool->left[i] = plan->tensors[i].n_blocks;
        if (!pool->writer || !erne_writer_is_done(pool->writer, i))
            continue;
        stats->n_resumed++;
        pool->done_bytes += plan->tensors[i].planes.total_bytes;
        pool->left[i] = 0;
    }
    return ERNE_OK;
}

void convert_loss_add(struct convert_loss *sum, const struct convert_loss *more)
{
    sum->err2 += more->err2;
    sum->ref2 += more->ref2;
    sum->cost += more->cost;
}

double convert_error(struct convert_loss loss)
{
    return loss.ref2 > 0 ? sqrt(loss.err2 / loss.ref2) : 0.0;
}

float convert_narrow(double x)
{
    return x < (double)FLT_MAX ? (float)x : FLT_MAX;
}

static void pool_deinit(struct pool *pool)
{
    pf_cond_destroy(&pool->changed);
    pf_mutex_destroy(&pool->mutex);
    free(pool->left);
    free(pool->first_tile);
    free(pool->losses);
}

static int start_worker(struct convert_worker *w, const struct sizes *sizes,
                        struct erne_error *err)
{
    struct pool *pool = w->pool;
    int st;

    if (erne_arena_init(&w->arena, (size_t)pool->plan->worker_bytes) < 0)
        return erne_fail(err, ERNE_ENOMEM, "out of memory");
    lay_out(w, sizes);
    pf_mutex_lock(pool->mutex);
    pool->n_running++;
    pf_mutex_unlock(pool->mutex);
    st = pf_thread_create(&w->thread, work, w);
    if (st == 0)
        return ERNE_OK;
    pf_mutex_lock(pool->mutex);
    pool->n_running--;
    pf_mutex_unlock(pool->mutex);
    return erne_fail(err, st, "cannot start a thread: %s", pf_last_error());
}

static void stop_worker(struct convert_worker *w)
{
    if (w->thread)
        pf_thread_join(&w->thread);
    erne_arena_deinit(&w->arena);
}

int convert_stats_init(struct convert_stats *stats, const struct convert_plan *plan,
                       struct erne_error *err)
{
    *stats = (struct convert_stats){ 0 };
    stats->losses = calloc(plan->n + 1, sizeof(*stats->losses));
    return stats->losses ? ERNE_OK : erne_fail(err, ERNE_ENOMEM, "out of memory");
}

void convert_stats_deinit(struct convert_stats *stats)
{
    free(stats->losses);
    *stats = (struct convert_stats){ 0 };
}

int convert_run(const struct convert_plan *plan, struct erne_model_writer *writer,
                struct convert_stats *stats, struct erne_error *err)
{
    const struct sizes sizes = largest_block(plan->tensors, plan->n);
    const uint64_t start = pf_time_ns();
    struct pool pool = { .plan = plan, .writer = writer };
    struct convert_worker *workers = calloc((size_t)plan->n_threads, sizeof(*workers));
    int st = workers ? pool_init(&pool, stats, err)
                     : erne_fail(err, ERNE_ENOMEM, "out of memory");
    int n = 0;

    assert(workers || st < 0);
    for (; st == 0 && n < plan->n_threads; n++) {
        workers[n].pool = &pool;
        st = start_worker(&workers[n], &sizes, err);
    }
    if (st < 0 && pool.mutex) {
        pf_mutex_lock(pool.mutex);
        pool.stop = true;
        pf_mutex_unlock(pool.mutex);
    }
    if (n > 0)
        watch(&pool);
    for (int i = 0; i < n; i++)
        stop_worker(&workers[i]);
    if (st == 0 && pool.status < 0) {
        st = pool.status;
        if (err)
            *err = pool.err;
    }
    for (size_t i = 0; st == 0 && i < plan->n; i++)
        stats->losses[i] = sum_loss(&pool, i);
    pool_deinit(&pool);
    free(workers);
    stats->ns = pf_time_ns() - start;
    return st;
}
