"""The smallest family a user could write: a plain convolutional network with two exits."""

import keras

from ipkd_tf import models


@keras.saving.register_keras_serializable("tests")
class TwoExits(models.FlexibleNetwork):
    def __init__(self, num_classes=10, image_size=32, mean=(0.5,) * 3, std=(0.25,) * 3, **kwargs):
        images = keras.Input((image_size, image_size, 3), name="image")
        x = keras.layers.Rescaling(1 / 255, name="rescale")(images)
        outputs = []
        for number, filters in enumerate((8, 16), 1):
            x = keras.layers.Conv2D(filters, 3, strides=2, name=f"conv_{number}")(x)
            x = keras.layers.BatchNormalization(name=f"norm_{number}")(x)
            pooled = keras.layers.GlobalAveragePooling2D(name=f"pool_{number}")(x)
            outputs.append(keras.layers.Dense(num_classes, name=f"logits_{number}")(pooled))
        super().__init__(inputs=images, outputs=outputs, submodels=("early", "late"), **kwargs)
