/* bench_experts.c -- how a mixture's routers share the tokens that are evaluated: counted
 * once a model, apart from all samples, since watching costs speed. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/cli/bench.h"

enum { MOST_TOKENS = 512 };

struct collector {
    struct bench_experts *experts;
    struct erne_error *err;
};

static int collect(void *user, const struct erne_expert_load *load)
{
    const struct collector *c = user;
    struct bench_experts *e = c->experts;
    struct erne_expert_load *more = realloc(e->loads, (e->n + 1) * sizeof(*more));

    if (!more)
        return cli_fail(c->err, ERNE_ENOMEM, "out of memory for the load of experts");
    e->loads = more;
    more[e->n++] = *load;
    return ERNE_OK;
}

/* The beginning of the trace, on a session of the engine. */
static int measure(struct bench_lane *lane, struct erne_error *err)
{
    struct bench_engine *e = lane->engine;
    const struct collector c = { &e->experts, err };
    size_t n = (size_t)erne_session_n_ctx(lane->session);
    int st = erne_session_rewind(lane->session, 0, err);

    n = n < e->trace.n ? n : e->trace.n;
    n = n < MOST_TOKENS ? n : MOST_TOKENS;
    return st == ERNE_OK ? erne_session_expert_load(lane->session, e->trace.data, n,
                                                    collect, (void *)(uintptr_t)&c, err)
                         : st;
}

/* The engine of the same model that was measured; NULL: none was yet. */
static const struct bench_engine *find(const struct bench *b, const char *path)
{
    for (size_t i = 0; i < b->n_engines; i++)
        if (b->engines[i].experts.n > 0 && strcmp(b->engines[i].path, path) == 0)
            return &b->engines[i];
    return NULL;
}

int bench_experts_measure(struct bench_lane *lane, const struct bench *b,
                          struct erne_error *err)
{
    return find(b, lane->engine->path) ? ERNE_OK : measure(lane, err);
}

void bench_experts_fill(struct bench_record *r, const struct bench *b)
{
    const struct bench_engine *e = find(b, r->model_filename);
    double seen = 0, entropy = 0;

    r->experts_busiest = r->experts_seen = r->experts_entropy = NAN;
    if (!e)
        return;
    r->experts = e->experts.loads;
    r->n_loads = e->experts.n;
    r->n_experts = r->experts[0].n_experts;
    r->n_experts_used = r->experts[0].n_used;
    r->experts_busiest = 0;
    for (size_t i = 0; i < r->n_loads; i++) {
        const struct erne_expert_load *l = &r->experts[i];

        r->experts_busiest = fmax(r->experts_busiest, l->busiest);
        seen += (double)l->n_seen / l->n_experts;
        entropy += l->entropy;
    }
    r->experts_seen = seen / (double)r->n_loads;
    r->experts_entropy = entropy / (double)r->n_loads;
}

void bench_experts_tell(const struct bench *b)
{
    for (size_t i = 0; i < b->n_engines; i++)
        for (size_t k = 0; k < b->engines[i].experts.n; k++) {
            const struct erne_expert_load *l = &b->engines[i].experts.loads[k];

            fprintf(stderr,
                    "%s: layer %d: of %" PRIu64 " tokens %.0f %% took the busiest of %d "
                    "experts, %d were taken, entropy %.3f\n",
                    b->engines[i].path, l->layer, l->n_tokens, 100 * l->busiest,
                    l->n_experts, l->n_seen, l->entropy);
        }
}
