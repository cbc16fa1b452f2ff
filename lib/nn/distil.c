/* distil.c: what is matched with what, and opening it. The losses are in distil_step.c. */
#include "nn/distil.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/hash.h"
#include "core/memory.h"
#include "core/rng.h"
#include "nn/distil_state.h"

bool distil_needs_all_rows(const struct distil_options *options)
{
    return options->relations > 0;
}

size_t distil_even(size_t teacher, size_t n, size_t i)
{
    return (2 * i * teacher + n) / (2 * n);
}

/* ---- what is matched ---- */

static bool check_map(const struct distil *d, const struct model *teacher, struct error *err)
{
    const struct distil_options *o = &d->options;
    if (!o->map)
        return true;
    if (o->n_map != d->student.n_layers)
        return error_set(err,
                         "--kd map: names %zu layers of the teacher, the student has %zu layers; "
                         "give one for each",
                         o->n_map, d->student.n_layers);
    for (size_t i = 0; i < o->n_map; i++)
        if (o->map[i] < 1 || o->map[i] > d->shape.n_layers)
            return error_set(err, "--kd map: layer %zu; %s has layers 1 to %zu", o->map[i],
                             teacher->name, d->shape.n_layers);
    return true;
}

/* Layers of the student, each with one of the teacher's; a bag's states with the teacher's last. */
static bool choose_pairs(struct distil *d, const struct model *teacher, struct error *err)
{
    const struct distil_options *o = &d->options;
    size_t layers = d->student.n_layers, all = d->shape.n_layers;
    if (!check_map(d, teacher, err))
        return false;
    if (o->patient > 0 && layers < 2)
        return error_set(err,
                         "--kd patient: a student of %zu layer%s has none before the last one; "
                         "use hidden",
                         layers, layers == 1 ? "" : "s");
    d->pair = memory_array(layers + 1, sizeof *d->pair, err);
    d->gradient = memory_zeroed(layers + 1, sizeof *d->gradient, err);
    if (!d->pair || !d->gradient)
        return false;
    if (o->hidden > 0 || o->patient > 0) {
        for (size_t i = 1; i <= layers; i++)
            d->pair[d->n_pairs++] =
                (struct distil_pair){i, o->map ? o->map[i - 1] : distil_even(all, layers, i)};
        if (layers == 0)
            d->pair[d->n_pairs++] = (struct distil_pair){0, all};
    }
    d->n_patient = o->patient > 0 ? layers - 1 : 0;
    return true;
}

static size_t common_divisor(size_t a, size_t b)
{
    while (b) {
        size_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

static bool choose_relation(struct distil *d, const struct model *teacher, struct error *err)
{
    const struct distil_options *o = &d->options;
    size_t all = d->shape.n_layers, layers = d->student.n_layers, asked = o->relation_layer;
    if (!(o->relations > 0))
        return true;
    if (layers == 0)
        return error_set(err,
                         "--kd relations: a student without layers has no query, key or value");
    if (asked > all || all == 0)
        return error_set(err, "--kd relation-layer: %zu; %s has layers 1 to %zu", asked,
                         teacher->name, all);
    d->relation_layer = asked ? asked - 1 : all - 1;
    size_t heads = d->shape.layer[d->relation_layer].heads;
    size_t width = heads * d->shape.head_size;
    size_t own = d->student.layer[layers - 1].heads * d->student.head_size;
    d->relation_heads = o->relation_heads ? o->relation_heads : common_divisor(heads, own);
    if (width % d->relation_heads || own % d->relation_heads)
        return error_set(err,
                         "--kd relation-heads: %zu does not divide the widths of both: %zu of the "
                         "teacher's heads together, %zu of the student's",
                         d->relation_heads, width, own);
    return true;
}

/* The teacher without head, no deeper than what is looked at, all rows of the last layer. */
static void cut_teacher(struct distil *d)
{
    size_t deep = d->options.relations > 0 ? d->relation_layer + 1 : 0;
    for (size_t i = 0; i < d->n_pairs; i++)
        deep = d->pair[i].teacher > deep ? d->pair[i].teacher : deep;
    d->shape.n_layers = deep;
    d->shape.n_labels = 0;
    d->shape.pool = SHAPE_FIRST;
    d->shape.all_rows = true;
    d->shape.no_pooler = d->shape.has_pooler = d->shape.has_classifier = true;
}

/* ---- W ---- */

static bool start_projection(struct distil *d, struct error *err)
{
    struct distil_projection *p = &d->projection;
    size_t in = d->student.hidden, out = d->shape.hidden;
    float *w = memory_zeroed(p->n, sizeof *w, err);
    struct rng rng;
    if (!w)
        return false;
    rng_seed(&rng, rng_hash(d->options.seed, 1));
    for (size_t i = 0; i < p->n; i++)
        w[i] = in == out ? (float)(i % in == i / in) : (float)(rng_normal(&rng) / sqrt((double)in));
    d->dev->op->upload(d->dev, p->w, w, p->n * sizeof *w);
    d->dev->op->zero(d->dev, p->m, p->n * sizeof *p->m);
    d->dev->op->zero(d->dev, p->v, p->n * sizeof *p->v);
    free(w);
    p->linear = d->dev->op->linear_bind(d->dev, p->w, NULL, out, in, err);
    return p->linear != NULL;
}

static bool open_projection(struct distil *d, struct error *err)
{
    struct distil_projection *p = &d->projection;
    size_t bytes;
    if (d->n_pairs == 0)
        return true;
    if (!memory_multiply(d->student.hidden, d->shape.hidden, &p->n) ||
        !memory_multiply(p->n, sizeof(float), &bytes))
        return error_set(err, "a projection of %zu x %zu is too large", d->student.hidden,
                         d->shape.hidden);
    float **memory[] = {&p->w, &p->grad, &p->m, &p->v};
    for (size_t i = 0; i < sizeof memory / sizeof memory[0]; i++)
        if (!(*memory[i] = d->dev->op->alloc(d->dev, bytes, err)))
            return false;
    p->sum = d->dev->op->alloc(d->dev, sizeof *p->sum, err);
    p->factor = d->dev->op->alloc(d->dev, sizeof *p->factor, err);
    return p->sum && p->factor && start_projection(d, err);
}

/* ---- the hook ---- */

static size_t state(void *context, struct trainer_buffer *buffer, size_t n)
{
    const struct distil *d = context;
    const struct distil_projection *p = &d->projection;
    const struct trainer_buffer all[] = {{"w", p->w, p->n * sizeof(float), true},
                                         {"m", p->m, p->n * sizeof(float), true},
                                         {"v", p->v, p->n * sizeof(float), true}};
    if (!p->w || n < 3)
        return 0;
    memcpy(buffer, all, sizeof all);
    return 3;
}

/* A checkpoint has brought W back. */
static bool before_forward(void *context, struct trainer *trainer, struct error *err)
{
    const struct distil *d = context;
    (void)trainer;
    (void)err;
    if (d->projection.linear)
        d->dev->op->linear_refresh(d->dev, d->projection.linear);
    return true;
}

/* What a checkpoint must be of. */
static bool identify(struct distil *d, struct model *teacher, struct error *err)
{
    const struct distil_options *o = &d->options;
    char text[HASH_TEXT_BYTES];
    uint64_t fingerprint = 0;
    if (!model_fingerprint(teacher, &fingerprint, err))
        return false;
    hash_text(fingerprint, text);
    json_t *map = json_array();
    for (size_t i = 0; map && i < d->n_pairs; i++)
        json_array_append_new(map, json_integer((json_int_t)d->pair[i].teacher));
    d->identity =
        json_pack("{s:s, s:f, s:f, s:f, s:o, s:I, s:I}", "teacher", text, "hidden", o->hidden,
                  "patient", o->patient, "relations", o->relations, "map", map, "relation-layer",
                  (json_int_t)d->relation_layer, "relation-heads", (json_int_t)d->relation_heads);
    d->hook = (struct trainer_hook){.name = "--teacher",
                                    .context = d,
                                    .before_forward = before_forward,
                                    .after_forward = distil_after_forward,
                                    .after_step = distil_after_step,
                                    .state = state,
                                    .memory = distil_memory,
                                    .reserve = distil_reserve,
                                    .identity = d->identity};
    return d->identity || error_set(err, "no memory for a checkpoint's identity");
}

static bool open_all(struct distil *d, struct model *teacher, const struct shape *student,
                     struct error *err)
{
    if (!shape_copy(student, &d->student, err) || !shape_from_model(&d->shape, teacher, err) ||
        !choose_pairs(d, teacher, err) || !choose_relation(d, teacher, err))
        return false;
    cut_teacher(d);
    if (!weights_prepare(&d->weights, &d->shape, teacher, d->dev, err))
        return false;
    batch_init(&d->batch, d->dev, &d->shape, 0, false);
    d->encoder = encoder_open(d->dev, &d->shape, true, err);
    return d->encoder && open_projection(d, err) && identify(d, teacher, err);
}

struct distil *distil_open(struct model *teacher, const struct shape *student,
                           const struct distil_options *options, struct device *dev,
                           struct error *err)
{
    struct distil *d = memory_zeroed(1, sizeof *d, err);
    if (!d)
        return NULL;
    d->options = *options;
    d->dev = dev;
    if (open_all(d, teacher, student, err))
        return d;
    error_at(err, "--teacher: ");
    distil_close(d);
    return NULL;
}

void distil_close(struct distil *distil)
{
    if (!distil)
        return;
    struct device *dev = distil->dev;
    struct distil_projection *p = &distil->projection;
    void *memory[] = {p->w, p->grad, p->m, p->v, p->sum, p->factor, distil->arena};
    if (p->linear)
        dev->op->linear_free(dev, p->linear);
    for (size_t i = 0; i < sizeof memory / sizeof memory[0]; i++)
        if (memory[i])
            dev->op->free(dev, memory[i]);
    encoder_close(distil->encoder);
    if (distil->batch.dev)
        batch_free(&distil->batch);
    weights_free(&distil->weights);
    shape_free(&distil->shape);
    shape_free(&distil->student);
    json_decref(distil->identity);
    free(distil->pair);
    free(distil->gradient);
    free(distil);
}

const struct trainer_hook *distil_hook(const struct distil *distil)
{
    return &distil->hook;
}
