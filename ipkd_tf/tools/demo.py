"""A page to try a network: each sub-model's answer, and which one a budget lets answer.

  python -m ipkd_tf demo --run=runs/quickstart/seed0
  python -m ipkd_tf demo --preset=msdnet_small_digits --port=8080

Drop or draw an image; the page asks for nothing from elsewhere, and is served to this machine alone
unless --host=0.0.0.0. Needs gradio: pip install 'ipkd_tf[demo]'.
"""

import os

import numpy as np
from absl import flags

from ipkd_tf.output.checks import require
from ipkd_tf.tools import command

FLAGS = flags.FLAGS
LIMITS = ("confidence (%)", "multiply-adds (millions)", "latency (ms)")
_REPEATS = 20


def define_flags(values=flags.FLAGS):
    command.define_run_flags(values)
    define = command.definer(values)
    define("host", "127.0.0.1", "Address to serve; 0.0.0.0: to all machines that reach this one.")
    define("port", 7860, "Port to serve.", lower_bound=1, upper_bound=65535)


def main():
    """Serves the page until Ctrl-C."""
    require("gradio", extra="demo")
    demo = Demo(command.open_run(FLAGS, threads=1))
    print(f"http://{FLAGS.host}:{FLAGS.port}, until Ctrl-C", flush=True)
    demo.page().launch(**demo.launching(FLAGS.host, FLAGS.port))


class Demo:
    """The sub-models of a `FinishedRun`, asked one image at a time."""

    def __init__(self, run):
        import tensorflow as tf

        from ipkd_tf.deployment.early_exit import costs
        from ipkd_tf.models import flexible

        self.run, self.names = run, flexible.names(run.network)
        self.classes = run.result.get("class_names") or run.splits.dataset.class_names
        self._costs = costs.multiply_adds(run.network)
        self._shape = run.network.inputs[0].shape[1:]
        self._models = [
            tf.function(flexible.cut(run.network, index), reduce_retracing=True)
            for index in range(len(self.names))
        ]

    def answer(self, image):
        """What each sub-model says of a PIL image: a list of dicts, smallest first."""
        import tensorflow as tf

        from ipkd_tf.data import image_file
        from ipkd_tf.deployment import latency

        pixels = tf.constant(image_file.fit(image, self._shape)[None])
        answers = []
        for name, model, row in zip(self.names, self._models, self.run.rows, strict=True):
            probabilities = tf.nn.softmax(model(pixels))[0].numpy()
            timed = latency.measure(
                lambda model=model: model(pixels), 2, _REPEATS, lambda logits: logits.numpy()
            )
            answers.append(
                {
                    "name": name,
                    "class": self.classes[int(np.argmax(probabilities))],
                    "confidence": float(np.max(probabilities)),
                    "multiply_adds": row["multiply_adds"],
                    "milliseconds": timed["median_ms"],
                    "accuracy": row["accuracy"],
                }
            )
        return answers

    def choose(self, answers, limit, value):
        """Which sub-model answers, and a sentence that says so and what it costs.

        Of `LIMITS` the first: the first that is at least as sure as `value`; else the most accurate
        within.
        """
        if limit == LIMITS[0]:
            sure = [100 * one["confidence"] >= value for one in answers]
            index = sure.index(True) if any(sure) else len(answers) - 1
            cost = self._costs.leaving([value / 100] * (len(answers) - 1))[index]
            why = f"is at least {value:.0f} % sure" if any(sure) else "is asked last"
            spent = f"{cost / 1e6:.2f} million multiply-adds with those asked before it"
        else:
            key, scale = (("multiply_adds", 1e6), ("milliseconds", 1))[LIMITS.index(limit) - 1]
            fits = [i for i, one in enumerate(answers) if one[key] <= value * scale]
            index = max(fits, key=lambda i: answers[i]["accuracy"], default=0)
            why = "is the most accurate within the budget" if fits else "is nearest to the budget"
            one = answers[index]
            spent = f"{one['multiply_adds'] / 1e6:.2f} million multiply-adds, "
            spent += f"{one['milliseconds']:.2f} ms"
        one = answers[index]
        return index, (
            f"### {one['class']}\n**{one['name']}** {why}: {100 * one['confidence']:.1f} % for "
            f"*{one['class']}*, at {spent}. It is right for {100 * one['accuracy']:.1f} % of the "
            "test images."
        )

    def range_of(self, limit, answers):
        """Least value, greatest value and start of the slider for one of `LIMITS`."""
        if limit == LIMITS[0]:
            return 0, 100, 90
        scale = {"multiply_adds": 1e-6, "milliseconds": 1}
        key = ("multiply_adds", "milliseconds")[LIMITS.index(limit) - 1]
        rows = answers or [{**row, "milliseconds": 1.0} for row in self.run.rows]
        greatest = 1.2 * max(row[key] for row in rows) * scale[key]
        return 0, float(f"{greatest:.2g}"), float(f"{greatest / 2:.2g}")

    def curve(self, index=None):
        """The figure of accuracy over multiply-adds, with the sub-model that answers marked."""
        from ipkd_tf.output import figures

        figure, (axes,) = figures.figure(1, "What each sub-model reaches", (6, 3.6))
        x, y = figures.plot_accuracy(axes, self.run.rows, **figures.style(0, 1))
        figures.name_points(axes, self.names, x, y)
        if index is not None:
            axes.plot(x[index], y[index], "o", ms=14, mfc="none", mec="C3", mew=2.5)
        return figure

    def page(self):
        """The page as `gradio.Blocks`."""
        os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
        import gradio as gr

        digits = self.run.experiment.dataset == "digits"
        heads = ["sub-model", "answer", "confidence %", "multiply-adds (M)", "latency (ms)"]
        heads += ["test accuracy %"]

        def show(answers, limit, value):
            if not answers:
                return [], "Drop or draw an image.", self.curve()
            index, sentence = self.choose(answers, limit, value)
            rows = [
                [
                    ("▶ " if number == index else "") + one["name"],
                    one["class"],
                    f"{100 * one['confidence']:.1f}",
                    f"{one['multiply_adds'] / 1e6:.2f}",
                    f"{one['milliseconds']:.2f}",
                    f"{100 * one['accuracy']:.1f}",
                ]
                for number, one in enumerate(answers)
            ]
            return rows, sentence, self.curve(index)

        def ask(image, limit, value):
            answers = [] if image is None else self.answer(image)
            return answers, *show(answers, limit, value)

        def ask_drawing(drawing, inverted, limit, value):
            from PIL import Image, ImageOps

            layer = drawing and drawing["composite"]
            if layer is None or layer.getextrema()[-1][-1] == 0:  # nothing drawn yet
                return ask(None, limit, value)
            paper = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
            drawn = paper.convert("RGB")
            return ask(ImageOps.invert(drawn) if inverted else drawn, limit, value)

        def move(limit, answers):
            least, greatest, start = self.range_of(limit, answers)
            return gr.Slider(least, greatest, start, step=greatest / 200)

        with gr.Blocks(title=f"ipkd_tf: {self.run.result['name']}") as page:
            answers = gr.State([])
            gr.Markdown(f"# {self.run.result['name']}\n{len(self.names)} sub-models of one network")
            with gr.Row():
                with gr.Column(scale=2):
                    with gr.Tab("Drop"):
                        image = gr.Image(type="pil", sources=["upload", "clipboard"], height=320)
                    with gr.Tab("Draw"):
                        drawing = gr.Sketchpad(
                            type="pil",
                            height=320,
                            canvas_size=(280, 280),
                            brush=gr.Brush(default_size=24, colors=["#000000", "#c00000"]),
                        )
                        inverted = gr.Checkbox(digits, label="White on black, as the digits are")
                    limit = gr.Radio(LIMITS, value=LIMITS[0], label="What decides")
                    value = gr.Slider(0, 100, 90, step=0.5, label="Limit")
                with gr.Column(scale=3):
                    sentence = gr.Markdown("Drop or draw an image.")
                    table = gr.Dataframe(headers=heads, interactive=False, wrap=True)
                    plot = gr.Plot(self.curve(), label="Trade-off")
            shown = [table, sentence, plot]
            image.change(ask, [image, limit, value], [answers, *shown])
            sketch = [drawing, inverted, limit, value]
            drawing.change(ask_drawing, sketch, [answers, *shown])
            inverted.change(ask_drawing, sketch, [answers, *shown])
            limit.change(move, [limit, answers], value)
            value.change(show, [answers, limit, value], shown, show_progress="hidden")
        return page

    def launching(self, host, port):
        """The arguments of `Blocks.launch`: fonts of the system, nothing shared or counted."""
        import gradio as gr

        theme = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"])
        return {
            "server_name": host,
            "server_port": port,
            "share": False,
            "quiet": True,
            "theme": theme,
            "footer_links": [],
        }


if __name__ == "__main__":
    command.start(define_flags, main)
