"""The options of every built-in method are known without torch: a misspelt word is answered before that is imported."""

import subprocess
import sys

from zsbench import registry

CODE = """
import importlib
import sys

from zsbench import registry
from zsbench.options import Options

for plugin in registry.plugins("method"):
    module = importlib.import_module(plugin.module.rpartition(".")[0] + ".options")
    classes = [each for each in vars(module).values() if isinstance(each, type) and issubclass(each, Options)]
    assert any(each.presets or each.variants or each.model_fields for each in classes), plugin
    heavy = {"torch", "open_clip", "transformers", "timm", "accelerate", "scipy"}.intersection(sys.modules)
    assert not heavy, (plugin, heavy)
"""


def test_options_import_nothing_heavy():
    subprocess.run([sys.executable, "-c", CODE], check=True)


def test_a_method_takes_the_options_beside_it():
    for plugin in registry.plugins("method"):
        options = registry.load_method_class(plugin.name).Options
        assert options.__module__ == plugin.module.rpartition(".")[0] + ".options"
