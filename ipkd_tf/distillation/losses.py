"""The objective of in-place knowledge distillation (paper, Equations 3 to 7) as pure functions.

With logits a[i] of the sub-models, labels y, teacher weights W whose rows sum to r_i, distillation
weight L and temperature T, the loss of one example is

    sum_i [ (1 - L r_i) CE(y, softmax(a[i]))
            + L T^2 sum_j W[i, j] D(softmax(a[j] / T), softmax(a[i] / T)) ]

where j runs over the sub-models and then the outside teachers, and a[j] is a constant: no gradient
reaches a teacher through its teaching. With `label_weight="full"` the labels keep their whole
weight, 1 in place of 1 - L r_i, and teaching comes on top.

At high temperatures all distributions are nearly uniform: entropies close to log(C) cancel, and
T^2 magnifies what rounding leaves. So every distribution is held relative to the uniform one, as
`u = log(C softmax(a / T))` and `q = exp(u)`, in which log(C) has cancelled exactly.
"""

import math
import typing
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from ipkd_tf.distillation.teachers import from_spec
from ipkd_tf.output.checks import check, check_choice

DIVERGENCES = ("kl", "ce", "reverse_kl")
LABEL_WEIGHTS = ("remaining", "full")


def inplace_distillation_loss(
    labels: typing.Any,
    logits: Sequence[tf.Tensor],
    teachers: str | np.ndarray | Sequence,
    distillation_weight: float,
    temperature: float,
    divergence: str = "kl",
    sample_weight: typing.Any = None,
    outside: Sequence[tf.Tensor] = (),
    label_weight: str = "remaining",
) -> tf.Tensor:
    """Returns the objective averaged over the batch.

    Args:
        labels: `[batch]` integers or `[batch, classes]` probabilities.
        logits: list of n tensors `[batch, classes]`, smallest sub-model first.
        teachers: teacher weights `[n, n + m]`, or anything else `teachers.from_spec` reads.
        distillation_weight: L in [0, 1], the teachers' share in the loss of a taught sub-model.
        temperature: T > 0, which softens teachers and students alike.
        divergence: `"kl"`, KL(teacher || student); `"ce"`, cross-entropy with the teacher as
            target; `"reverse_kl"`, KL(student || teacher).
        sample_weight: `[batch]` non-negative weights of the mean; 0 removes an example, even one
            that is NaN. If they are all 0, the loss is 0.
        outside: list of m tensors `[batch, classes]`, logits of outside teachers.
        label_weight: what the labels weigh in the loss of a taught sub-model, `"remaining"`, 1 - L,
            or `"full"`, 1.

    Returns:
        Scalar in nats, float32 (float64 if any logits are float64).

    Raises:
        ValueError: an argument is out of range, or shapes or dtypes do not fit.

    Example:
        >>> logits = [tf.zeros([1, 2]), tf.constant([[3.0, 0.0]])]
        >>> float(inplace_distillation_loss([0], logits, "ipkd", 0.8, 5.0))
        1.0482...  # 0.2 * 0.6931 + 0.0486 from the label, 0.8 * 25 * 0.0431 from the teacher
    """
    settings = distillation_weight, temperature, divergence
    hard, soft = per_example_losses(
        labels, logits, teachers, *settings, outside, sample_weight, label_weight=label_weight
    )
    losses = hard + soft
    if sample_weight is None:
        return tf.reduce_mean(losses)
    weights = tf.cast(tf.convert_to_tensor(sample_weight), losses.dtype)
    return tf.math.divide_no_nan(tf.reduce_sum(weights * losses), tf.reduce_sum(weights))


def per_example_losses(
    labels: typing.Any,
    logits: Sequence[tf.Tensor],
    teachers: str | np.ndarray | Sequence,
    distillation_weight: float,
    temperature: float,
    divergence: str = "kl",
    outside: Sequence[tf.Tensor] = (),
    sample_weight: typing.Any = None,
    keep: tf.Tensor | None = None,
    label_weight: str = "remaining",
    ramp: tf.Tensor | None = None,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the labels' and the teachers' part of the objective, `[batch]` each.

    As `inplace_distillation_loss`, but sample weights do not scale: where one is 0, zeros stand for
    labels and logits, so that neither loss nor gradient is NaN. `keep` is None, or 1 for each
    teacher `[n + m]` that teaches now and 0 for others, whose shares the rest of a row takes over.
    `ramp` is None, or the scalar in [0, 1] that L is multiplied by now.
    """
    check_settings(distillation_weight, temperature, divergence, label_weight)
    n = len(logits)
    all_logits = _check_logits([*logits, *outside])
    labels = _check_labels(labels, all_logits[0])
    if sample_weight is not None:
        labels, *all_logits = _take_out(sample_weight, labels, *all_logits)
    teacher_weights = from_spec(teachers, n, len(outside))
    taught = teacher_weights.any(axis=1)
    weight = distillation_weight
    if ramp is not None:
        weight *= tf.cast(ramp, all_logits[0].dtype)
    shares = [1.0 - weight if row and label_weight != "full" else 1.0 for row in taught]
    if keep is not None and label_weight != "full":  # A row nobody is left of is not taught.
        left = tf.reduce_any(tf.cast(teacher_weights * keep, tf.bool), axis=1)
        left = tf.cast(left, all_logits[0].dtype)
        shares = [1.0 - weight * left[i] if row else 1.0 for i, row in enumerate(taught)]
    hard = _hard_loss(labels, all_logits[:n], shares)
    if distillation_weight == 0 or not taught.any():
        return hard, tf.zeros_like(hard)
    soft = _soft_loss(all_logits, teacher_weights, temperature, divergence, keep)
    return hard, weight * temperature**2 * soft


def mean_logits(logits: Sequence[tf.Tensor]) -> tf.Tensor:
    """Returns logits `[batch, classes]` of the mean of the probabilities of several sub-models."""
    relative = _relative_log_softmax(tf.stack(_check_logits(logits)), 1.0)
    return tf.reduce_logsumexp(relative, axis=0)


def _take_out(sample_weight, labels, *logits):
    """Returns zeros for the examples of weight 0, for 0 * NaN is NaN, in a gradient too."""
    weights = tf.convert_to_tensor(sample_weight)
    check(
        weights.shape.is_compatible_with(logits[0].shape[:1]),
        "one number per example as sample weights",
        **{"sample_weight.shape": weights.shape},
    )
    out = tf.reshape(weights == 0, [-1, 1])
    zero = tf.zeros([], labels.dtype)
    yield tf.where(out[:, 0] if labels.dtype.is_integer else out, zero, labels)
    for one in logits:
        yield tf.where(out, tf.zeros([], one.dtype), one)


def _hard_loss(labels, logits, weights):
    """Returns sum_i weights[i] CE(labels, softmax(logits[i])), `[batch]`."""
    sparse = tf.nn.sparse_softmax_cross_entropy_with_logits
    cross_entropy = sparse if labels.dtype.is_integer else _soft_label_cross_entropy
    terms = [
        weight * cross_entropy(labels=labels, logits=one)
        for weight, one in zip(weights, logits, strict=True)
        if not isinstance(weight, float) or weight
    ]
    return tf.add_n(terms or [tf.zeros_like(logits[0][:, 0])])


def _soft_label_cross_entropy(labels, logits):
    """Returns -sum_c labels[c] log softmax(logits)[c], `[batch]`, for labels of any sum."""
    # TensorFlow's gradient, softmax - labels, is that of labels that sum to 1.
    total = tf.reduce_sum(labels, axis=-1, keepdims=True)
    total = tf.where(abs(total - 1) < 1e-5, tf.ones_like(total), total)  # probabilities, rounded
    labels = tf.math.divide_no_nan(labels, total)
    return total[:, 0] * tf.nn.softmax_cross_entropy_with_logits(labels=labels, logits=logits)


def _soft_loss(logits, teacher_weights, temperature, divergence, keep):
    """Returns sum_ij W[i, j] D(softmax(a[j] / T), softmax(a[i] / T)), `[batch]`."""
    students = np.flatnonzero(teacher_weights.any(axis=1))
    teachers = np.flatnonzero(teacher_weights.any(axis=0))
    involved = np.union1d(students, teachers)
    relative = _relative_log_softmax(tf.stack([logits[i] for i in involved]), temperature)
    relative = dict(zip(involved, tf.unstack(relative), strict=True))
    student = tf.stack([relative[i] for i in students])
    teacher = tf.stop_gradient(tf.stack([relative[j] for j in teachers]))
    weights = teacher_weights[np.ix_(students, teachers)].astype(np.float64)
    weights /= weights.sum(axis=1, keepdims=True)  # to 1 in float64; float32 thirds do not
    if keep is not None:
        weights *= tf.cast(tf.gather(keep, teachers), tf.float64)
        weights = tf.math.divide_no_nan(weights, tf.reduce_sum(weights, axis=1, keepdims=True))
    divergences = _DIVERGENCE_OF[divergence](teacher, student, weights)
    if keep is not None:
        divergences *= tf.cast(tf.reduce_sum(weights, axis=1, keepdims=True), divergences.dtype)
    return tf.reduce_sum(divergences, axis=0)


def _relative_log_softmax(logits, temperature):
    """Returns log(C softmax(logits / temperature)) over the last axis, of size C."""
    # The result does not change with the maximum, so no gradient needs to flow through it.
    maximum = tf.stop_gradient(tf.reduce_max(logits, axis=-1, keepdims=True))
    scaled = (logits - maximum) / temperature
    excess = tf.reduce_mean(tf.math.expm1(scaled), axis=-1, keepdims=True)
    # log1p keeps the digits that log loses near 1. Bounded, because a gradient that is infinite
    # in the branch not taken would still turn into NaN.
    log_mean_exp = tf.where(
        excess > -0.5,
        tf.math.log1p(tf.maximum(excess, -0.5)),
        tf.math.log(tf.reduce_mean(tf.exp(scaled), axis=-1, keepdims=True)),
    )
    return scaled - log_mean_exp


def _mix(weights, values):
    """Returns sum_j weights[i, j] values[j] for each i, in one matrix product."""
    # In float64: TensorFloat-32 hardware would round the values to 10 bits before a float32
    # product, and T^2 would magnify that.
    return tf.cast(tf.tensordot(weights, tf.cast(values, tf.float64), axes=1), values.dtype)


def _kl(teacher, student, weights):
    likelihood = tf.exp(teacher)
    negative_entropy = tf.reduce_mean(likelihood * teacher, axis=-1)
    target = _mix(weights, likelihood)
    return _mix(weights, negative_entropy) - tf.reduce_mean(target * student, axis=-1)


def _cross_entropy(teacher, student, weights):
    classes = tf.cast(tf.shape(student)[-1], student.dtype)
    target = _mix(weights, tf.exp(teacher))
    return tf.reduce_mean(target * (tf.math.log(classes) - student), axis=-1)


def _reverse_kl(teacher, student, weights):
    # KL(p_i || p_j) is linear in log p_j, so here the log-probabilities mix.
    return tf.reduce_mean(tf.exp(student) * (student - _mix(weights, teacher)), axis=-1)


# Each maps teachers' and students' u, `[teachers, batch, C]` and `[students, batch, C]`, and the
# weights between them to the students' divergences, `[students, batch]`.
_DIVERGENCE_OF = {"kl": _kl, "ce": _cross_entropy, "reverse_kl": _reverse_kl}


def check_settings(
    distillation_weight: float, temperature: float, divergence: str, label_weight: str = "remaining"
) -> None:
    """Raises ValueError for settings out of range; for callers that have no logits yet."""
    share = 0 <= distillation_weight <= 1
    check(share, "a share in [0, 1]", distillation_weight=distillation_weight)
    check(0 < temperature < math.inf, "a finite number > 0", temperature=temperature)
    check_choice(DIVERGENCES, divergence=divergence)
    check_choice(LABEL_WEIGHTS, label_weight=label_weight)


def _check_logits(logits):
    """Returns the logits as tensors of one dtype, wide enough to compute the loss in."""
    logits = [tf.convert_to_tensor(one) for one in logits]
    shapes = [one.shape for one in logits]
    check(
        shapes and all(s.rank in (None, 2) and s.is_compatible_with(shapes[0]) for s in shapes),
        "logits as a list with one tensor [batch, classes] for each sub-model and outside teacher, "
        "all of the same shape",
        shapes=shapes,
    )
    wide = tf.float64 if any(one.dtype == tf.float64 for one in logits) else tf.float32
    return [tf.cast(one, wide) for one in logits]


def _check_labels(labels, logits):
    """Returns int64 classes, or probabilities in the logits' dtype."""
    labels = tf.convert_to_tensor(labels)
    whole = labels.dtype.is_integer
    expected, dtype = (logits.shape[:1], tf.int64) if whole else (logits.shape, logits.dtype)
    check(
        (whole or labels.dtype.is_floating) and labels.shape.is_compatible_with(expected),
        "labels that are integers [batch] or probabilities (floating-point numbers) "
        f"[batch, classes], for logits of shape {logits.shape}",
        **{"labels.dtype": labels.dtype.name, "labels.shape": labels.shape},
    )
    return tf.cast(labels, dtype)
