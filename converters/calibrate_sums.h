/* calibrate_sums.h -- collects x^T x of the inputs of a graph's matrix products while it
 * runs. Inside calibrate.c's work; one pass holds the sums of some of the inputs. */
#ifndef ERNE_CALIBRATE_SUMS_H
#define ERNE_CALIBRATE_SUMS_H

#include "converters/convert.h"
#include "runtime/watch.h"

enum { CALIBRATE_MAX_K = 8192 }; /* wider ones are left alone: their sums have 256 MiB */

/* What is multiplied by weights: a tensor of the graph, or what is inside a node with
 * experts, in front of the down projection of one. */
struct sums_input {
    const struct erne_tensor *x; /* [T, k]; with an expert, its node's input */
    int64_t expert;              /* -1: none */
    int64_t k;
    uint64_t offset; /* of its factor in the file of factors, in floats */
    float *sum;      /* [k, k] while its pass runs, else NULL */
    int64_t n_few;   /* with an expert, the tokens that are in sum; else 0 */
    bool is_done;    /* its factor was made */
};

/* A tensor of the plan and its name, for bsearch. */
struct sums_name {
    const char *name;
    size_t tensor;
};

struct sums {
    const struct convert_plan *plan;
    const struct erne_graph *graph;
    struct sums_name *names;   /* [plan->n], sorted */
    struct sums_input *inputs; /* [n] in the order of the graph */
    size_t n;
    int64_t *input_of_node;   /* [graph->n_nodes]: the input that it is the first to
                                 read, or -1 */
    int64_t *down_of_node;    /* [graph->n_nodes]: that of its first expert's down
                                 projection, which those of the others follow, or -1 */
    struct sums_hidden *hidden; /* room for what is inside a node with experts */
    int64_t *input_of_tensor; /* [plan->n]: or -1 */
    int64_t *seen;            /* [plan->n]: tokens that an expert was given */
    bool counts;              /* whether this pass counts them */
    int n_threads;
};

/* Finds the inputs of all tensors of the plan that are rounded to integers. */
int sums_init(struct sums *sums, const struct convert_plan *plan,
              const struct erne_graph *graph, int n_threads, struct erne_error *err);
void sums_deinit(struct sums *sums);

/* What watches the plan: user is the struct sums. */
void sums_see(void *user, const struct erne_node *node, const struct erne_step *step);

#endif
