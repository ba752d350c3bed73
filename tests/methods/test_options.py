"""The options of every built-in method are known without torch: a misspelt word is answered before that is imported."""

import subprocess
import sys

from zsbench import registry

CODE = """
import sys

from zsbench import registry

for plugin in registry.plugins("method"):
    options = registry.load_options(plugin.name)
    assert options.model_fields and options.preset("miniworld"), plugin
    heavy = {"torch", "open_clip", "transformers", "timm", "accelerate", "scipy"}.intersection(sys.modules)
    assert not heavy, (plugin, heavy)
"""


def test_options_import_nothing_heavy():
    subprocess.run([sys.executable, "-c", CODE], check=True)


def test_a_method_takes_the_options_that_are_read_without_it():
    for plugin in registry.plugins("method"):
        assert registry.load_method_class(plugin.name).Options is registry.load_options(plugin.name)
