"""A network made ready to be run stage by stage, faster and with the same logits."""

import dataclasses

import keras
import tensorflow as tf

from ipkd_tf.models import cost, flexible, folding, stages


def fastest(network):
    """Returns a copy of a network, with the same outputs, that runs faster in stages.

    Batch normalisation is folded into the convolutions. Sub-models that share no computation, such
    as widths, become plain models side by side: each then has its own folded kernels, instead of
    cutting them out of the shared ones at every call. That takes more memory.

    Args:
        network: Functional `keras.Model` of one input, with one output of logits for each
            sub-model, smallest first.

    Returns:
        A functional `keras.Model` with `submodel_names`.

    Example:
        >>> answers = anytime.Anytime(fastest(network))
    """
    made = folding.fold_batch_normalization(network) if _reuses(network) else _side_by_side(network)
    made.submodel_names = flexible.names(network)
    return made


def _reuses(network):
    """Whether any sub-model computes something that a later one needs."""
    bodies = filter(None, (stage.body for stage in stages.partition(network)))
    return any(cost.multiply_adds(body.model) for body in bodies)


def _side_by_side(network):
    image = keras.Input(network.inputs[0].shape[1:], name=stages.IMAGE)
    alone = [flexible.cut(network, index) for index in range(len(network.outputs))]
    return keras.Model(image, [folding.fold_batch_normalization(one)(image) for one in alone])


def frozen(stage):
    """Returns a stage whose weights are constants, as they are now.

    Inside control flow this is much faster for few images: a variable has to be handed through
    every branch around its operation.
    """
    body, head = (
        piece and _Frozen(piece.model, piece.reads, piece.writes)
        for piece in (stage.body, stage.head)
    )
    return dataclasses.replace(stage, body=body, head=head)


class _Frozen(stages.Piece):
    def run(self, tensors):
        trainable, others = map(
            _constants, (self.model.trainable_variables, self.model.non_trainable_variables)
        )
        inputs = [tensors[name] for name in self.reads]
        results, _ = self.model.stateless_call(trainable, others, inputs, training=False)
        return dict(zip(self.writes, keras.tree.flatten(results), strict=True))


def _constants(variables):
    # Values can be read outside of a graph under construction alone.
    with tf.init_scope():
        values = [variable.numpy() for variable in variables]
    return [tf.constant(value) for value in values]
