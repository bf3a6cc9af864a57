/* calibrate.h -- what the layers of a model meet when it reads a text: for rounding that
 * keeps what they do (quantize/gptq.h), and for telling which experts a text reaches.
 *
 * The checkpoint is converted without loss into a file of its own, which then runs the
 * text; what is learnt is kept in a second one. Both are removed again. The model
 * runs as often as --max-ram demands: it holds the sums of as many layers as fit.
 */
#ifndef ERNE_CALIBRATE_H
#define ERNE_CALIBRATE_H

#include "converters/convert.h"
#include "converters/judge.h"

struct calibration;

/* What a text did to the experts of all layers. */
struct calibration_reach {
    int64_t n_experts, n_reached; /* at least one token went there */
    int64_t median;               /* tokens an expert was given */
};

/* Runs opts->calibrate through the model. Fails: EIO and EINVAL name the text (absent, or
 * too short); else what converting and running fail with. ECANCELLED. */
int calibration_make(struct calibration **out, const struct convert_plan *plan,
                     const struct erne_convert_opts *opts, struct erne_error *err);
void calibration_free(struct calibration **calibration);

/* The factor [k, k] of the inputs of plan->tensors[tensor]; NULL where none was made: the
 * text never reaches it, or its scheme has no use for it. */
const float *calibration_factor(const struct calibration *calibration, size_t tensor);
/* The checkpoint without loss, whose tensors are those of the plan; and who has its
 * predictions for a part of the text that the factors do not know. */
struct erne_engine *calibration_engine(const struct calibration *calibration);
const struct judge *calibration_judge(const struct calibration *calibration);
int64_t calibration_n_tokens(const struct calibration *calibration);
/* n_experts is 0 for a model without. */
struct calibration_reach calibration_reach(const struct calibration *calibration);
/* The tokens that went to the expert whose first matrix plan->tensors[tensor] is; -1: it
 * is no expert's. Where none did, the first matrix is rounded by what others of the layer
 * were given, and the second plainly. */
int64_t calibration_given(const struct calibration *calibration, size_t tensor);
/* The same of either matrix; 0 for what is no expert's. */
int64_t calibration_reached(const struct calibration *calibration, size_t tensor);

#endif
