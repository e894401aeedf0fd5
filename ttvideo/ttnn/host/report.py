"""What ttnn-visualizer opens: a database of a run's ops, with their tensors and all buffers that were there
at each."""

import contextlib
import shutil
from pathlib import Path

import ttnn
from ttnn.graph_report import import_report


@contextlib.contextmanager
def reported(folder: Path):
    """Of all that is run within; if that breaks, the op at which it did is the last one."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    ttnn.graph.begin_graph_capture(ttnn.graph.RunMode.NORMAL)
    # It records each call of TT-NN, and needs torch; ours names the program's ops.
    ttnn.graph.disable_python_io_recording()
    try:
        yield
    finally:
        capture = folder.with_suffix(".json")
        ttnn.graph.end_graph_capture_to_file(str(capture))
        import_report(capture, folder)
        ttnn.save_config_to_json_file(str(folder / "config.json"))


@contextlib.contextmanager
def reported_op(step, operands: list[ttnn.Tensor]):
    """One op of the program by its own name, its attributes and location, whatever TT-NN calls for it."""
    results: list[ttnn.Tensor] = []
    if not ttnn.graph.is_graph_capture_active():
        yield results
        return
    record = ttnn.graph.record_python_operation(step.op, operands, step.attributes)
    record["python_stack_trace"] = [step.location]
    ttnn.graph.track_function_start(step.op)
    try:
        yield results
        record["output_tensor_ids"] = [result.tensor_id for result in results]
    except Exception as error:
        ttnn.graph.record_python_operation_error(record, type(error).__name__, str(error))
        raise
    finally:
        ttnn.graph.track_function_end()
