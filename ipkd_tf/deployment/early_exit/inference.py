"""A network made ready to be run stage by stage, faster and with the same logits."""

import dataclasses

import keras
import tensorflow as tf

from ipkd_tf.models import cost, flexible, folding, stages


def fastest(network):
    """A copy of a functional network, with the same outputs, that runs faster in stages.

    Batch normalisation is folded into the convolutions. Sub-models that share no computation, such
    as widths, become plain models side by side: each then has its own folded kernels, instead of
    cutting them out of the shared ones at every call. That takes more memory.
    """
    if any(part.body and cost.multiply_adds(part.body.model) for part in stages.partition(network)):
        copy = folding.fold_batch_normalization(network)
    else:
        image = keras.Input(network.inputs[0].shape[1:], name=stages.IMAGE)
        alone = [flexible.cut(network, index) for index in range(len(network.outputs))]
        folded = list(map(folding.fold_batch_normalization, alone))
        # Stages take the layers out of these models, so their names must differ.
        for submodel in folded:
            for layer in submodel.layers:
                layer.name = f"{submodel.name}_{layer.name}"
        copy = keras.Model(image, [submodel(image) for submodel in folded])
    copy.submodel_names = flexible.names(network)
    return copy


def frozen(stage):
    """A stage whose weights are constants, as they are now.

    Inside control flow that is much faster for few images: variables pass through every branch.
    """
    body, head = (
        piece and _Frozen(piece.model, piece.reads, piece.writes)
        for piece in (stage.body, stage.head)
    )
    return dataclasses.replace(stage, body=body, head=head)


class _Frozen(stages.Piece):
    def run(self, tensors):
        # Values can be read outside of a graph under construction alone.
        with tf.init_scope():
            values = [
                [variable.numpy() for variable in variables]
                for variables in (
                    self.model.trainable_variables,
                    self.model.non_trainable_variables,
                )
            ]
        trainable, others = ([tf.constant(value) for value in some] for some in values)
        inputs = [tensors[name] for name in self.reads]
        results, _ = self.model.stateless_call(trainable, others, inputs, training=False)
        return dict(zip(self.writes, keras.tree.flatten(results), strict=True))
