/* calibrate_sums.c -- which inputs matter, and their sums. See calibrate_sums.h. */
#include "converters/calibrate_sums.h"

#include <stdlib.h>
#include <string.h>

#include "quantize/gram.h"

enum { MAX_THREADS = 64 };

/* ---------------------------------------------------------------- finding */

static int compare_names(const void *a, const void *b)
{
    return strcmp(((const struct sums_name *)a)->name,
                  ((const struct sums_name *)b)->name);
}

static bool wants_factor(const struct convert_tensor *t)
{
    const bool is_few_bits =
        erne_codec_is_int(t->scheme.codec) && t->scheme.codec != ERNE_CODEC_W8;

    /* The embedding is looked up, too, which has no inputs. */
    return t->how == CONVERT_ROUND && is_few_bits && t->layout->k <= CALIBRATE_MAX_K &&
           t->layout->spec.role != ERNE_ROLE_EMBED;
}

/* The number of the input x, which is added if it is new. */
static int64_t find_input(struct sums *s, const struct erne_tensor *x, bool *is_new)
{
    for (size_t i = s->n; i-- > 0;)
        if (s->inputs[i].x == x) {
            *is_new = false;
            return (int64_t)i;
        }
    s->inputs[s->n] = (struct sums_input){ .x = x, .k = x->dim[1] };
    if (s->n > 0) {
        const struct sums_input *before = &s->inputs[s->n - 1];

        s->inputs[s->n].offset = before->offset + (uint64_t)(before->k * before->k);
    }
    *is_new = true;
    return (int64_t)s->n++;
}

/* SIZE_MAX: the plan has none of that name. */
static size_t tensor_of(const struct sums *s, const char *name)
{
    const struct sums_name key = { .name = name };
    const struct sums_name *found =
        bsearch(&key, s->names, s->plan->n, sizeof(*s->names), compare_names);

    return found ? found->tensor : SIZE_MAX;
}

/* Notes that the weight w of the node is multiplied by the node's x. */
static void add_use(struct sums *s, const struct erne_node *node,
                    const struct erne_tensor *w)
{
    const size_t tensor = tensor_of(s, w->name);
    bool is_new;
    int64_t input;

    if (tensor == SIZE_MAX || !wants_factor(&s->plan->tensors[tensor]))
        return;
    input = find_input(s, node->src[ERNE_SRC_X], &is_new);
    s->input_of_tensor[tensor] = input;
    if (is_new)
        s->input_of_node[node - s->graph->nodes] = input;
}

static void add_node(struct sums *s, const struct erne_node *node)
{
    if (node->op == ERNE_OP_MATMUL)
        add_use(s, node, node->src[ERNE_SRC_W]);
    if (node->op != ERNE_OP_MOE_FFN)
        return;
    const struct erne_tensor *bank = node->src[ERNE_SRC_GATE_UP];

    for (int64_t e = 0; e < bank->dim[0]; e++)
        add_use(s, node, &bank->bank[e]);
}

int sums_init(struct sums *s, const struct convert_plan *plan,
              const struct erne_graph *graph, int n_threads, struct erne_error *err)
{
    *s = (struct sums){ .plan = plan, .graph = graph };
    s->n_threads = n_threads < MAX_THREADS ? n_threads : MAX_THREADS;
    s->names = calloc(plan->n + 1, sizeof(*s->names));
    s->inputs = calloc(graph->n_nodes + 1, sizeof(*s->inputs));
    s->input_of_node = calloc(graph->n_nodes + 1, sizeof(*s->input_of_node));
    s->input_of_tensor = calloc(plan->n + 1, sizeof(*s->input_of_tensor));
    s->seen = calloc(plan->n + 1, sizeof(*s->seen));
    if (!s->names || !s->inputs || !s->input_of_node || !s->input_of_tensor || !s->seen)
        return erne_fail(err, ERNE_ENOMEM, "no memory to calibrate");
    for (size_t i = 0; i < plan->n; i++) {
        s->names[i] = (struct sums_name){ plan->tensors[i].layout->spec.name, i };
        s->input_of_tensor[i] = -1;
    }
    qsort(s->names, plan->n, sizeof(*s->names), compare_names);
    for (size_t i = 0; i < graph->n_nodes; i++)
        s->input_of_node[i] = -1;
    for (size_t i = 0; i < graph->n_nodes; i++)
        add_node(s, &graph->nodes[i]);
    return ERNE_OK;
}

void sums_deinit(struct sums *s)
{
    for (size_t i = 0; i < s->n; i++)
        free(s->inputs[i].sum);
    free(s->names);
    free(s->inputs);
    free(s->input_of_node);
    free(s->input_of_tensor);
    free(s->seen);
    *s = (struct sums){ 0 };
}

/* ----------------------------------------------------------------- adding */

struct gram_job {
    struct pf_thread *thread;
    const struct sums_input *input;
    int64_t n_rows;
    struct gram_share share;
};

static void add_share(void *arg)
{
    const struct gram_job *job = arg;
    const struct erne_tensor *x = job->input->x;

    gram_add(job->input->sum, job->input->k, x->data, x->stride, job->n_rows, job->share);
}

/* A thread that cannot be started is replaced by this one. */
static void add_rows(const struct sums *s, const struct sums_input *input, int64_t n_rows)
{
    struct gram_job jobs[MAX_THREADS];

    for (int i = s->n_threads - 1; i >= 0; i--) {
        jobs[i] = (struct gram_job){ NULL, input, n_rows, { i, s->n_threads } };
        if (i == 0 || pf_thread_create(&jobs[i].thread, add_share, &jobs[i]) < 0)
            add_share(&jobs[i]);
    }
    for (int i = 0; i < s->n_threads; i++)
        if (jobs[i].thread)
            pf_thread_join(&jobs[i].thread);
}

/* Which experts the tokens go to. weights: [T, E] */
static void count_experts(struct sums *s, const struct erne_node *node, int64_t n_rows)
{
    const struct erne_tensor *weights = node->src[ERNE_SRC_WEIGHTS];
    const struct erne_tensor *bank = node->src[ERNE_SRC_GATE_UP];
    const size_t first = tensor_of(s, bank->bank[0].name);

    /* The tensors of a bank are gate_up and down of one expert after the other. */
    for (int64_t t = 0; first != SIZE_MAX && t < n_rows; t++) {
        const float *row = (const float *)weights->data + t * weights->stride;

        for (int64_t e = 0; e < bank->dim[0]; e++)
            s->seen[first + 2 * (size_t)e] += row[e] != 0.0f;
    }
}

void sums_see(void *user, const struct erne_node *node, const struct erne_step *step)
{
    struct sums *s = user;
    const int64_t input = s->input_of_node[node - s->graph->nodes];
    const int64_t n_rows = erne_tensor_rows(node->src[0], step);

    if (node->op == ERNE_OP_MOE_FFN && s->counts)
        count_experts(s, node, n_rows);
    if (input >= 0 && s->inputs[input].sum)
        add_rows(s, &s->inputs[input], n_rows);
}
