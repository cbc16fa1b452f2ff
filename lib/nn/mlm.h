/* mlm.h: training a masked language model (Devlin et al. 2019), and its distillation (Sanh et al.
 * 2019), as a hook of a training run with options.mlm.
 *
 * In each batch every token that is not special is chosen with the probability `rate` (at least one
 * of the batch); of the chosen, 80 % become the mask token, 10 % a random one that is not special,
 * 10 % stay. The loss of the batch is the mean over the chosen of the cross-entropy of what was
 * there. With a teacher, which sees the same batch, it is
 *
 *     alpha T² KL(teacher || student at T) + (1 - alpha) cross-entropy + cosine (1 - cos(s, t))
 *
 * s and t the last hidden states of all tokens, their mean taken over a text's tokens and over
 * texts.
 *
 * The score on dev is the mean log probability of what was masked, always the same tokens.
 *
 * Costs, beside training the encoder (train.h): three products of chosen × vocabulary × width; 16
 * bytes for each value of the word table, all of whose rows learn; logits (mlm_head.h). With a
 * teacher its forward pass, and 8 bytes for each of its parameters.
 */
#ifndef MILLET_NN_MLM_H
#define MILLET_NN_MLM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "io/model.h"
#include "kernels/kernels.h"
#include "nn/trainer.h"
#include "text/tokenizer.h"

struct mlm_options {
    double rate; /* 0.15 */
    uint64_t seed;
    /* With a teacher: */
    double alpha, temperature, cosine;
};

struct mlm;

/* Borrows device, tokenizer (while opening) and teacher (NULL: none), which must have a head and
 * the same tokens. */
struct mlm *mlm_open(const struct tokenizer *tokenizer, struct model *teacher,
                     const struct mlm_options *options, struct device *dev,
                     struct error *err) MUST_CHECK;
void mlm_close(struct mlm *mlm); /* NULL is fine */
const struct trainer_hook *mlm_hook(const struct mlm *mlm);

/* Share of the masked dev tokens that the last scored epoch found; NaN: none was. */
double mlm_accuracy(const struct mlm *mlm);

#endif
