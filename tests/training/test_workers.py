"""Who is who in a cluster, and what a lost worker's error says."""

import contextlib
import io
import json
import socket
import threading
import time
import types
from unittest import mock

import tensorflow as tf
from absl.testing import parameterized

from ipkd_tf.training import workers
from tests.training.distributed import commands

_TWO = {"worker": ["a:1", "b:1"]}
_WITH_CHIEF = {"chief": ["a:1"], "worker": ["b:1", "c:1"], "ps": ["d:1"]}


def _strategy(cluster, kind, number):
    """A strategy as far as its place in the cluster goes."""
    spec = tf.train.ClusterSpec(cluster)
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        spec, task_type=kind, task_id=number
    )
    return types.SimpleNamespace(cluster_resolver=resolver)


class ClusterTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(
        (_TWO, "worker", 0, 2, True),
        (_TWO, "worker", 1, 2, False),
        (_WITH_CHIEF, "chief", 0, 3, True),
        (_WITH_CHIEF, "worker", 0, 3, False),
        ({"worker": ["a:1"]}, "worker", 0, 1, True),
        ({}, None, None, 1, True),
    )
    def test_places(self, cluster, kind, number, count, is_chief):
        strategy = _strategy(cluster, kind, number)
        self.assertEqual(workers.count(strategy), count)
        self.assertEqual(workers.is_chief(strategy), is_chief)

    def test_one_process_without_a_cluster(self):
        strategy = tf.distribute.get_strategy()
        self.assertEqual(workers.count(strategy), 1)
        self.assertTrue(workers.is_chief(strategy))
        workers.check_agreement(strategy, 7)
        workers.wait_for_all(strategy)

    def test_workers_that_do_not_see_the_same_workdir(self):
        strategy = _strategy(_TWO, "worker", 1)
        with mock.patch.object(workers, "total", return_value=30.0):
            workers.check_agreement(strategy, 15)
            with self.assertRaisesRegex(
                ValueError, "all of them see. Received: step=0, mean .* 15"
            ):
                workers.check_agreement(strategy, 0)

    def test_waits_for_peers_and_says_so(self):
        own, peer = commands.free_addresses(2)
        errors, servers, threads = io.StringIO(), [], []

        def work(address, other):
            workers.wait_for_peers(address, [other])
            port = int(address.rpartition(":")[2])
            servers.append(socket.create_server(("127.0.0.1", port)))  # as TensorFlow does then

        with (
            mock.patch.object(workers, "_SECONDS_BEFORE_A_WORD", 0),
            mock.patch.object(workers, "_SECONDS_BETWEEN_WORDS", 600),
            contextlib.redirect_stderr(errors),
        ):
            for address, other in ((own, peer), (peer, own)):
                threads.append(threading.Thread(target=work, args=(address, other)))
                threads[-1].start()
                time.sleep(0.5 * (address == own))
            for thread in threads:
                thread.join(30)
        self.assertLen(servers, 2)
        self.assertEqual(errors.getvalue(), f"waiting for 1 of 2 workers at {peer}\n")
        with self.assertRaisesRegex(OSError, f"port cannot be opened .*Received: {own}"):
            workers.wait_for_peers(own, [peer])
        for server in servers:
            server.close()

    @parameterized.parameters(
        "",
        "{'cluster'",
        "[]",
        '{"cluster": {"worker": ["a:1"]}}',
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}',
        '{"cluster": {"worker": ["a"]}, "task": {"type": "worker", "index": 0}}',
    )
    def test_a_broken_cluster(self, text):
        with (
            mock.patch.dict("os.environ", {"TF_CONFIG": text}),
            self.assertRaisesRegex(ValueError, "TF_CONFIG to list .*Received: .*TF_CONFIG="),
        ):
            workers.read_cluster()

    def test_a_cluster(self):
        task = {"type": "worker", "index": "1"}
        for cluster, own, peers in (
            (_TWO, "b:1", ["a:1"]),
            (_WITH_CHIEF, "c:1", ["a:1", "b:1"]),
        ):
            config = json.dumps({"cluster": cluster, "task": task})
            with mock.patch.dict("os.environ", {"TF_CONFIG": config}):
                self.assertEqual(workers.read_cluster(), (own, peers))

    def test_an_error_of_the_network_is_explained_only_among_several(self):
        lost = tf.errors.UnavailableError(None, None, "Socket closed\nmore")
        with self.assertRaisesRegex(ConnectionError, r"was lost \(Socket closed\); start the same"):
            with workers.explained(_strategy(_TWO, "worker", 0)):
                raise lost
        with self.assertRaises(tf.errors.UnavailableError):
            with workers.explained(tf.distribute.get_strategy()):
                raise lost


if __name__ == "__main__":
    tf.test.main()
