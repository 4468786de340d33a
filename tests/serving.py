"""`transformers serve` on a CPU, also where accelerate is not installed: it is asked for only to place weights on devices."""

import importlib.util
import sys


def main():
    import transformers.modeling_utils as loading
    from transformers.cli.transformers import main as command

    if importlib.util.find_spec("accelerate") is None:
        loading.check_and_set_device_map = lambda device_map: None
    sys.argv = ["transformers", "serve", *sys.argv[1:]]
    command()


if __name__ == "__main__":
    main()
