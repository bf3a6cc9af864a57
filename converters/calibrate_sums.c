/* calibrate_sums.c -- which inputs matter, and their sums. See calibrate_sums.h.
 *
 * What an expert has in front of its down projection is inside a node, where nobody can
 * watch it, so it is computed here once more.
 */
#include "converters/calibrate_sums.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "quantize/gram.h"
#include "quantize/tile64.h"

enum { MAX_THREADS = 64 };

/* ---------------------------------------------------------------- finding */

static int compare_names(const void *a, const void *b)
{
    return strcmp(((const struct sums_name *)a)->name,
                  ((const struct sums_name *)b)->name);
}

static bool wants_factor(const struct convert_tensor *t)
{
    /* The embedding is looked up, too, which has no inputs. */
    return t->is_calibrated && t->layout->k <= CALIBRATE_MAX_K &&
           t->layout->spec.role != ERNE_ROLE_EMBED;
}

static int64_t add_input(struct sums *s, const struct erne_tensor *x, int64_t expert,
                         int64_t k)
{
    struct sums_input *input = &s->inputs[s->n];

    *input = (struct sums_input){ .x = x, .expert = expert, .k = k };
    if (s->n > 0)
        input->offset = input[-1].offset + (uint64_t)(input[-1].k * input[-1].k);
    return (int64_t)s->n++;
}

/* The number of the input x, which is added if it is new. */
static int64_t find_input(struct sums *s, const struct erne_tensor *x, bool *is_new)
{
    *is_new = false;
    for (size_t i = s->n; i-- > 0;)
        if (s->inputs[i].x == x && s->inputs[i].expert < 0)
            return (int64_t)i;
    *is_new = true;
    return add_input(s, x, -1, x->dim[1]);
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

/* The down projections of a node's experts: all of them, or none. */
static void add_downs(struct sums *s, const struct erne_node *node)
{
    const struct erne_tensor *bank = node->src[ERNE_SRC_DOWN];
    const size_t first = tensor_of(s, bank->bank[0].name);

    if (first == SIZE_MAX || !wants_factor(&s->plan->tensors[first]))
        return;
    s->down_of_node[node - s->graph->nodes] = (int64_t)s->n;
    for (int64_t e = 0; e < bank->dim[0]; e++) {
        const size_t tensor = tensor_of(s, bank->bank[e].name);
        const int64_t input = add_input(s, node->src[ERNE_SRC_X], e, bank->dim[2]);

        if (tensor != SIZE_MAX)
            s->input_of_tensor[tensor] = input;
    }
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
    add_downs(s, node);
}

/* Inputs that one node may have: itself, or its experts. */
static size_t count_inputs(const struct erne_graph *graph)
{
    size_t n = 0;

    for (size_t i = 0; i < graph->n_nodes; i++) {
        const struct erne_node *node = &graph->nodes[i];

        n += 1 +
             (node->op == ERNE_OP_MOE_FFN ? (size_t)node->src[ERNE_SRC_DOWN]->dim[0] : 0);
    }
    return n;
}

/* The tokens of a step that one expert is given, and what it has in front of its down
 * projection. */
struct sums_hidden {
    const struct erne_node *node;
    float *values;   /* [n_rows, n_ff] */
    float *decoded;  /* [threads][2][K]: a gate and an up row */
    int64_t *tokens; /* [n_rows] */
};

static int make_hidden(struct sums *s, struct erne_error *err)
{
    int64_t n_values = 0, n_rows = 0, k = 0;

    for (size_t i = 0; i < s->n; i++)
        if (s->inputs[i].expert >= 0) {
            const struct erne_tensor *x = s->inputs[i].x;

            n_rows = x->dim[0] > n_rows ? x->dim[0] : n_rows;
            k = x->dim[1] > k ? x->dim[1] : k;
            if (x->dim[0] * s->inputs[i].k > n_values)
                n_values = x->dim[0] * s->inputs[i].k;
        }
    if (n_values == 0)
        return ERNE_OK;
    s->hidden = calloc(1, sizeof(*s->hidden));
    if (s->hidden) {
        s->hidden->values = malloc((size_t)n_values * sizeof(float));
        s->hidden->decoded = malloc((size_t)(s->n_threads * 2 * k) * sizeof(float));
        s->hidden->tokens = malloc((size_t)n_rows * sizeof(int64_t));
    }
    if (!s->hidden || !s->hidden->values || !s->hidden->decoded || !s->hidden->tokens)
        return erne_fail(err, ERNE_ENOMEM, "no memory to calibrate");
    return ERNE_OK;
}

static void free_hidden(struct sums_hidden *hidden)
{
    if (!hidden)
        return;
    free(hidden->values);
    free(hidden->decoded);
    free(hidden->tokens);
    free(hidden);
}

int sums_init(struct sums *s, const struct convert_plan *plan,
              const struct erne_graph *graph, int n_threads, struct erne_error *err)
{
    *s = (struct sums){ .plan = plan, .graph = graph };
    s->n_threads = n_threads < MAX_THREADS ? n_threads : MAX_THREADS;
    s->names = calloc(plan->n + 1, sizeof(*s->names));
    s->inputs = calloc(count_inputs(graph) + 1, sizeof(*s->inputs));
    s->down_of_node = calloc(graph->n_nodes + 1, sizeof(*s->down_of_node));
    s->input_of_node = calloc(graph->n_nodes + 1, sizeof(*s->input_of_node));
    s->input_of_tensor = calloc(plan->n + 1, sizeof(*s->input_of_tensor));
    s->seen = calloc(plan->n + 1, sizeof(*s->seen));
    if (!s->names || !s->inputs || !s->input_of_node || !s->down_of_node ||
        !s->input_of_tensor || !s->seen)
        return erne_fail(err, ERNE_ENOMEM, "no memory to calibrate");
    for (size_t i = 0; i < plan->n; i++) {
        s->names[i] = (struct sums_name){ plan->tensors[i].layout->spec.name, i };
        s->input_of_tensor[i] = -1;
    }
    qsort(s->names, plan->n, sizeof(*s->names), compare_names);
    for (size_t i = 0; i < graph->n_nodes; i++)
        s->input_of_node[i] = s->down_of_node[i] = -1;
    for (size_t i = 0; i < graph->n_nodes; i++)
        add_node(s, &graph->nodes[i]);
    return make_hidden(s, err);
}

void sums_deinit(struct sums *s)
{
    for (size_t i = 0; i < s->n; i++)
        free(s->inputs[i].sum);
    free(s->names);
    free(s->inputs);
    free(s->input_of_node);
    free(s->down_of_node);
    free_hidden(s->hidden);
    free(s->input_of_tensor);
    free(s->seen);
    *s = (struct sums){ 0 };
}

/* ----------------------------------------------------------------- adding */

struct share {
    struct pf_thread *thread;
    const struct sums *s;
    const struct sums_input *input;
    int64_t n_rows;
    int index;
};

/* Calls fn for as many shares of the work as there are threads. One that cannot be
 * started is replaced by this one. */
static void divide(const struct sums *s, const struct sums_input *input, int64_t n_rows,
                   void (*fn)(void *share))
{
    struct share shares[MAX_THREADS];

    for (int i = s->n_threads - 1; i >= 0; i--) {
        shares[i] = (struct share){ NULL, s, input, n_rows, i };
        if (i == 0 || pf_thread_create(&shares[i].thread, fn, &shares[i]) < 0)
            fn(&shares[i]);
    }
    for (int i = 0; i < s->n_threads; i++)
        if (shares[i].thread)
            pf_thread_join(&shares[i].thread);
}

static void add_share(void *arg)
{
    const struct share *share = arg;
    const struct sums_input *input = share->input;
    const struct gram_share of = { share->index, share->s->n_threads };

    if (input->expert >= 0)
        gram_add(input->sum, input->k, share->s->hidden->values, input->k, share->n_rows,
                 of);
    else
        gram_add(input->sum, input->k, input->x->data, input->x->stride, share->n_rows,
                 of);
}

/* Eight sums at a time, in an order that no compiler changes. */
ERNE_CLONES static float dot(const float *a, const float *b, int64_t n)
{
    float sum[8] = { 0 };
    int64_t i = 0;

    for (; i + 8 <= n; i += 8)
        for (int l = 0; l < 8; l++)
            sum[l] += a[i + l] * b[i + l];
    for (int l = 0; i < n; i++, l++)
        sum[l] += a[i] * b[i];
    return ((sum[0] + sum[4]) + (sum[1] + sum[5])) +
           ((sum[2] + sum[6]) + (sum[3] + sum[7]));
}

/* Columns of the hidden values: silu(gate x) * up x, times what the token gives the
 * expert, as that is how much an error counts. */
static void hide_share(void *arg)
{
    const struct share *share = arg;
    const struct sums_hidden *h = share->s->hidden;
    const struct erne_node *node = h->node;
    const struct erne_tensor *x = node->src[ERNE_SRC_X];
    const struct erne_tensor *weights = node->src[ERNE_SRC_WEIGHTS];
    const int64_t e = share->input->expert, n_ff = share->input->k, k = x->dim[1];
    const struct erne_tensor *w = &node->src[ERNE_SRC_GATE_UP]->bank[e];
    float *gate_row = h->decoded + share->index * 2 * k, *up_row = gate_row + k;

    for (int64_t j = share->index; j < n_ff; j += share->s->n_threads) {
        const int64_t n =
            j / ERNE_SWIGLU_RUN * (2 * ERNE_SWIGLU_RUN) + j % ERNE_SWIGLU_RUN;

        tile64_decode_row(gate_row, w->scheme, &w->planes, erne_tensor_codes(w),
                          erne_tensor_scales(w), erne_tensor_minima(w), n, k);
        tile64_decode_row(up_row, w->scheme, &w->planes, erne_tensor_codes(w),
                          erne_tensor_scales(w), erne_tensor_minima(w),
                          n + ERNE_SWIGLU_RUN, k);
        for (int64_t i = 0; i < share->n_rows; i++) {
            const int64_t t = h->tokens[i];
            const float *row = (const float *)x->data + t * x->stride;
            const float gate = dot(gate_row, row, k), up = dot(up_row, row, k);
            const float weight = ((const float *)weights->data)[t * weights->stride + e];

            h->values[i * n_ff + j] = weight * gate / (1.0f + expf(-gate)) * up;
        }
    }
}

static void add_experts(struct sums *s, const struct erne_node *node, int64_t first,
                        int64_t n_rows)
{
    const struct erne_tensor *weights = node->src[ERNE_SRC_WEIGHTS];

    s->hidden->node = node;
    for (int64_t e = 0; e < node->src[ERNE_SRC_DOWN]->dim[0]; e++) {
        struct sums_input *input = &s->inputs[first + e];
        int64_t n = 0;

        for (int64_t t = 0; input->sum && t < n_rows; t++)
            if (((const float *)weights->data)[t * weights->stride + e] != 0.0f)
                s->hidden->tokens[n++] = t;
        if (n == 0)
            continue;
        divide(s, input, n, hide_share);
        divide(s, input, n, add_share);
        input->n_few += n;
    }
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

        for (int64_t e = 0; e < bank->dim[0]; e++) {
            s->seen[first + 2 * (size_t)e] += row[e] != 0.0f;
            s->seen[first + 2 * (size_t)e + 1] += row[e] != 0.0f;
        }
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
        divide(s, &s->inputs[input], n_rows, add_share);
    if (s->down_of_node[node - s->graph->nodes] >= 0)
        add_experts(s, node, s->down_of_node[node - s->graph->nodes], n_rows);
}
