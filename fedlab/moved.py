"""Modules that have moved: their old names work until the next minor version, with a warning."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from types import ModuleType

MOVED = {
    "catalogue": "config.catalogue",
    "clients.class_memory": "clients.families.class_prototypes",
    "clients.differentiate": "training.gradients",
    "clients.local_round": "training.local_round",
    "clients.optimizer": "training.optimizer",
    "clients.semi_supervised": "clients.families.semi_supervised",
    "clients.spec": "training.spec",
    "clients.task": "training.task",
    "comparison.alternatives": "comparison.arguments",
    "comparison.conductor": "comparison.run_worker",
    "comparison.conductors": "comparison.run_scheduler",
    "comparison.folder": "comparison.comparison_folder",
    "comparison.progress": "comparison.run_progress",
    "comparison.running": "comparison.launch",
    "comparison.texts": "comparison.formats",
    "comparison.words": "comparison.sentences",
    "component": "config.component",
    "composition": "federation.method_wrapper",
    "data.cache": "data.array_cache",
    "data.checks": "data.data_checks",
    "data.extractor": "features.base",
    "data.features": "data.stored_numbers",
    "data.images": "data.resize",
    "data.pool": "data.load",
    "data.strong_views": "data.randaugment",
    "data.trial": "data.trial_samples",
    "defaults": "config.defaults",
    "deploy.certificates": "deploy.security.certificates",
    "deploy.device": "deploy.device.node",
    "deploy.front": "deploy.server.front",
    "deploy.grid": "deploy.server.device_grid",
    "deploy.inspection": "deploy.server.inspection",
    "deploy.join": "deploy.device.join",
    "deploy.keys": "deploy.security.keys",
    "deploy.network": "deploy.security.network",
    "deploy.own_data": "deploy.device.local_data",
    "deploy.own_tensors": "deploy.device.own_tensors",
    "deploy.participant": "deploy.device.participant",
    "deploy.post": "deploy.server.mailbox",
    "deploy.refusals": "deploy.security.connection_errors",
    "deploy.roll": "deploy.server.device_registry",
    "deploy.server": "deploy.server.serve",
    "deploy.state_file": "deploy.device.state_file",
    "deploy.superlink": "deploy.server.superlink_process",
    "deploy.task": "deploy.server.serve_setup",
    "deploy.terms": "deploy.handshake",
    "deploy.words": "deploy.readable",
    "engine.actor_pool": "engine.ray.actor_pool",
    "engine.allocator": "engine.malloc",
    "engine.checks": "engine.model_check",
    "engine.cluster": "engine.ray.cluster",
    "engine.dense_layer": "engine.execution.dense_layer",
    "engine.evaluation": "engine.execution.evaluation",
    "engine.execution": "engine.execution.mode",
    "engine.low_rank": "engine.execution.low_rank",
    "engine.low_rank_rule": "engine.execution.low_rank_rule",
    "engine.one_by_one": "engine.execution.sequential",
    "engine.passes": "engine.execution.passes",
    "engine.portions": "engine.work_units",
    "engine.ray_actor": "engine.ray.actor",
    "engine.ray_grid": "engine.ray.ray_grid",
    "engine.resources": "engine.ray.resources",
    "engine.runtime": "engine.execution.runtime",
    "engine.schedule": "engine.execution.batch_schedule",
    "engine.session": "engine.ray.session",
    "engine.side_by_side": "engine.execution.batched_mlp",
    "engine.states": "engine.client_states",
    "engine.trial": "engine.step_check",
    "engine.vectorised": "engine.execution.vmapped",
    "engine.wide_layers": "engine.execution.low_rank_layers",
    "engine.workload": "engine.execution.round_workload",
    "export.check": "export.export_check",
    "export.run": "export.export_run",
    "features.cache": "features.feature_cache",
    "features.run": "features.saved_run",
    "features.torchvision": "features.torchvision_network",
    "flower_compat.fleet": "flower_compat.fleet_client",
    "flower_compat.superlink": "flower_compat.superlink_client",
    "models.chain": "models.dense_chain",
    "models.check": "models.output_check",
    "models.geometry": "models.eigenspace",
    "models.heard": "models.captured",
    "models.layout": "models.memory_format",
    "models.modes": "models.eval_mode",
    "models.parts": "models.blocks",
    "models.plain": "models.spec",
    "models.shapes": "models.input_shape",
    "overrides": "config.overrides",
    "plain_values": "config.plain_values",
    "privacy.checks": "privacy.privacy_checks",
    "problems": "config.error_messages",
    "registry": "config.registry",
    "report.audit_table": "report.terminal.audit_table",
    "report.braille": "report.terminal.braille_chart",
    "report.closing_table": "report.terminal.summary_table",
    "report.contact_sheet": "report.figures.contact_sheet",
    "report.curves": "runs.curves",
    "report.feature_map": "report.figures.feature_map",
    "report.html.features": "report.html.feature_section",
    "report.html.partition": "report.html.partition_section",
    "report.html.read": "report.html.report_data",
    "report.html.repeat": "report.html.reproduce",
    "report.html.words": "report.html.format",
    "report.learning_curves": "report.figures.learning_curves",
    "report.partition_picture": "report.figures.partition_figure",
    "report.partition_view": "report.terminal.partition_view",
    "report.progress": "report.terminal.progress",
    "report.tables": "report.terminal.tables",
    "report.watch": "report.terminal.watch",
    "runs.conduct": "runs.execute",
    "runs.finish": "runs.final_model",
    "runs.files": "files",
    "runs.folder": "runs.run_folder",
    "runs.unchanged": "runs.resume_check",
    "runs.workload": "runs.workload_file",
    "scenarios.allocate": "partition.apportion",
    "scenarios.checks": "partition.skew_checks",
    "scenarios.devices": "virtual_time.spec",
    "scenarios.fleet": "virtual_time.device_population",
    "scenarios.partition": "partition.partition",
    "scenarios.label_budget": "partition.label_budget",
    "scenarios.pool": "partition.sample_pool",
    "scenarios.skews": "partition.base",
    "scenarios.spec": "partition.spec",
    "schema": "config.schema",
    "shipped": "config.builtin_scenarios",
    "signatures": "config.signatures",
    "strategies.aggregation": "federation.weighted_mean",
    "strategies.callbacks": "federation.callbacks",
    "strategies.checks": "strategies.families.requirements",
    "strategies.combined": "federation.check_state",
    "strategies.double_precision": "federation.float64",
    "strategies.fedopt": "strategies.families.fedopt",
    "strategies.in_flight": "virtual_time.async_clients",
    "strategies.layout": "federation.record_layout",
    "strategies.round_plan": "virtual_time.round_plan",
    "strategies.rounds": "federation.rounds",
    "strategies.rows": "federation.history_rows",
    "strategies.screening": "federation.screening",
    "strategies.semi_supervised": "strategies.families.semi_supervised",
    "strategies.server_step": "strategies.families.server_update",
    "strategies.settings": "federation.server_config",
    "strategies.split": "strategies.families.local_head",
    "strategies.sums": "federation.weighted_sum",
    "strategies.unformed": "federation.low_rank_sum",
    "strategies.updates": "federation.client_updates",
    "strategies.virtual_clock": "virtual_time.clock",
    "tracking.numbers": "tracking.scalar_values",
    "yaml_text": "config.yaml_text",
}
"""Old name -> new name, both within `fedlab`."""


class OldNames(MetaPathFinder, Loader):
    """Finds a module under its new name when it is imported by its old one."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        """The spec of a module under an old name; None for any other name."""
        new = MOVED.get(fullname.removeprefix("fedlab."))
        if new is None or not fullname.startswith("fedlab."):
            return None
        warnings.warn(
            f"{fullname} is now fedlab.{new}; the old name goes in fedlab 0.3",
            DeprecationWarning,
            stacklevel=2,
        )
        return spec_from_loader(fullname, self)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """The module of the new name, the same object."""
        module = importlib.import_module(f"fedlab.{MOVED[spec.name.removeprefix('fedlab.')]}")
        self._specs[spec.name] = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Does not execute the module a second time; restores its own spec."""
        old = module.__spec__.name if module.__spec__ else ""
        module.__spec__ = self._specs.pop(old)

    def __init__(self) -> None:
        self._specs: dict[str, ModuleSpec | None] = {}


def install() -> None:
    """Makes the old names importable; later calls have no effect."""
    if not any(isinstance(finder, OldNames) for finder in sys.meta_path):
        sys.meta_path.append(OldNames())
