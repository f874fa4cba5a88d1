"""What is broken, and which tests have to notice: one line of the package each."""

from typing import NamedTuple


class Mutation(NamedTuple):
    """A defect.

    Attributes:
        name: What is wrong with it.
        file: File in the package.
        old: Text that is there once.
        new: What takes its place.
        tests: Tests of which one has to fail, as pytest takes them.
    """

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


def _of(file: str, tests: str, *rows: tuple[str, str, str]) -> list[Mutation]:
    return [Mutation(name, file, old, new, tuple(tests.split())) for name, old, new in rows]


MUTATIONS = [
    *_of(
        'freezing/schedules.py',
        'tests/test_freezing/test_schedules.py',
        ('freezing: rho counts from 1', 'time % self.rho == 0', '(time + 1) % self.rho == 0'),
        (
            'freezing: milestones are inverted',
            'if time in self._times',
            'if time not in self._times',
        ),
        ('freezing: probing is an epoch longer', 'time >= self.probe', 'time > self.probe'),
        ('freezing: a share is rounded down', 'return math.ceil(', 'return math.floor('),
        ('freezing: a share of 1 is taken', '0 < value < 1', '0 < value <= 1'),
    ),
    *_of(
        'freezing/gradual.py',
        'tests/test_freezing/test_schedules.py',
        (
            'freezing: gradual unfreezing from the input',
            'return stages[max(len(stages) - self.changes(time), 0) :]',
            'return stages[: self.changes(time)]',
        ),
        (
            'freezing: gradual freezing from the output',
            'return stages[self.changes(time) :]',
            'return stages[: max(len(stages) - self.changes(time), 0)]',
        ),
        ('freezing: gradual changes come late', '// self.every + 1', '// self.every'),
    ),
    *_of(
        'freezing/budget.py',
        'tests/test_freezing/test_budget.py',
        ('budget: of all epochs at once', 'cost * epochs <= left', 'cost <= left'),
        ('budget: measuring is free', '        aside = (', '        aside = 0 * ('),
        ('budget: what is left is not shared', 'self.epochs - len(decisions)\n', 'self.epochs\n'),
        ('budget: one sign', 'known = [sign * value', 'known = [value'),
        (
            'budget: of equals the shorter',
            '(means[count - 1], count)',
            '(means[count - 1], -count)',
        ),
        ('budget: no signal is NaN', ' if value == value]', ']'),
        ('budget: less than frozen is taken', 'if least > self.ceiling:', 'if False:'),
    ),
    *_of(
        'hooks/epoch_decisions.py',
        'tests/test_hooks/test_budgeted_freezing.py',
        (
            'budget: decisions are not kept',
            'decisions=list(self._schedule.decisions)',
            'decisions=[]',
        ),
        (
            'budget: counts full batches',
            'min(len(loader) * images_in_batch(loader), len(loader.sampler))',
            'len(loader) * images_in_batch(loader)',
        ),
        ('budget: own frozen stages have a signal', ' if id(p) in allowed', ''),
    ),
    *_of(
        'hooks/training_cost_hook.py',
        'tests/test_hooks/test_budgeted_freezing.py',
        ('budget: passes are in no ledger', 'run.ledger.measuring_flops += ', '_ = '),
    ),
    *_of(
        'freezing/phases.py',
        'tests/test_freezing/test_schedules.py',
        ('freezing: phases do not add up', 'start += length', 'start = length'),
    ),
    *_of(
        'freezing/freezer.py',
        'tests/test_freezing/test_freezer.py',
        ('freezing: gradients stay behind', 'parameter.grad = None', 'pass'),
        (
            'freezing: own frozen stages are thawed',
            'wanted = name in trainable and id(parameter) in self._allowed',
            'wanted = name in trainable',
        ),
        (
            'freezing: modes are not applied',
            'if any(module.training for',
            'if not any(module.training for',
        ),
        (
            'freezing: Adam keeps its first moment',
            "('momentum_buffer', 'exp_avg')",
            "('momentum_buffer',)",
        ),
        (
            'freezing: containers stay in train mode',
            'if (inside - blocks or inside).isdisjoint(trainable):',
            'if False:',
        ),
    ),
    *_of(
        'freezing/ddp.py',
        'tests/test_hooks/test_freezing_distributed.py',
        ('freezing: communication hooks are lost', 'new.register_comm_hook(state, hook)', 'pass'),
    ),
    *_of(
        'freezing/ddp.py',
        'tests/test_compat_torch.py',
        ('freezing: the old wrapper goes on', '    compat.ddp_release(ddp)\n', ''),
    ),
    *_of(
        'stages/rules.py',
        'tests/test_stages.py',
        (
            'stages: children as they are registered',
            'ordered = sorted(division, key=lambda part: keys[part[0]])',
            'ordered = division',
        ),
    ),
    *_of(
        'stages/families.py',
        'tests/test_stages.py',
        (
            'stages: groups of other sizes',
            '-(-len(row) * i // count)',
            '-(-len(row) * i // count) - i',
        ),
    ),
    *_of(
        'stages/families.py',
        'tests/test_stages_families.py',
        (
            'stages: downsampling opens the next stage',
            "f'downsample_layers.{i}'] if i",
            "f'downsample_layers.{i + 1}'] if i",
        ),
        (
            'stages: a layer between is one',
            'if opened or kinds[i] is outer',
            'if kinds[i] is outer',
        ),
        ('stages: a stem in the row is a stage', 'if opened or kinds[i] is outer', 'if opened'),
        ('stages: norms go to the last', 'stage_of[number].append(path)', 'pass'),
    ),
    *_of(
        'hooks/gradient_tap.py',
        'tests/test_hooks/test_gradient_tap.py',
        (
            'gradients: a skipped step counts',
            'self._skipped, self._inside = True, True',
            'self._skipped, self._inside = False, True',
        ),
        ('gradients: the tap stays on', 'self._handle.remove()', 'pass'),
        (
            'gradients: fused optimizers are given no scale',
            "getattr(optimizer, 'grad_scale', None)",
            'None',
        ),
        (
            'gradients: the scale is forgotten',
            "scale = getattr(scaler, '_scale', None)",
            'return None',
        ),
    ),
    *_of(
        'distortion/rgn.py',
        'tests/test_distortion/test_rgn.py',
        (
            'gradients: eps in the wrong place',
            'norms[0] / (norms[1] + eps)',
            '(norms[0] + eps) / norms[1]',
        ),
        (
            'gradients: kernels are not summed',
            'if weight.dim() == 4 and weight.shape[2:] != (1, 1):',
            'if False:',
        ),
        (
            'gradients: the scale multiplies',
            'ratios = ratios / scale.to(device)',
            'ratios = ratios * scale.to(device)',
        ),
        ('gradients: a ratio of means', 'sum(seen) / len(seen)', 'sum(seen) / len(found)'),
    ),
    *_of(
        'distortion/norms.py',
        'tests/test_distortion/test_rgn.py tests/test_distortion/test_drift.py',
        (
            'gradients: squares of float64 overflow',
            'norm = largest * torch.linalg.vector_norm(tensor / largest)',
            'norm = torch.linalg.vector_norm(tensor)',
        ),
    ),
    *_of(
        'distortion/regularizer.py',
        'tests/test_distortion/test_regularizer.py',
        (
            'regulariser: the pull pushes',
            'total.add_(moved, alpha=factor)',
            'total.add_(moved, alpha=-factor)',
        ),
        (
            'regulariser: importance is left out',
            'total.addcmul_(weight, moved, value=factor)',
            'total.add_(moved, alpha=factor)',
        ),
        (
            'regulariser: no limit',
            'cap = min(1 / rate if self.capped and rate > 0 else math.inf, most_of_type)',
            'cap = most_of_type',
        ),
        ('regulariser: negative importance pushes away', '.clamp_(0, cap)', '.clamp_(-cap, cap)'),
        ('regulariser: the loss scale is forgotten', 'moved.mul_(scale)', 'pass'),
        ('regulariser: half of the penalty', '.mul_(moved).sum() / 2)', '.mul_(moved).sum())'),
        (
            'regulariser: frozen parameters are held too',
            'for n, p in named if p.grad is not None]',
            'for n, p in named]',
        ),
    ),
    *_of(
        'distortion/importance.py',
        'tests/test_distortion/test_importance.py',
        (
            'regulariser: Fisher without the square',
            'return gradient * gradient',
            'return gradient.abs()',
        ),
        ('regulariser: a sum for a mean', 'total.div_(float(counts))', 'pass'),
        (
            'regulariser: half precision adds up',
            'dtype = wide(weight.dtype)',
            'dtype = weight.dtype',
        ),
    ),
    *_of(
        'distortion/drift.py',
        'tests/test_distortion/test_drift.py',
        (
            'regulariser: drift over the weights of now',
            'drift[group] = moved / size if size',
            'drift[group] = size / moved if size',
        ),
        (
            'regulariser: features are not centred',
            'features = features - features.mean(0)',
            'features = features + 0',
        ),
    ),
    *_of(
        'utils/untouched.py',
        'tests/test_distortion/test_drift.py tests/test_distortion/test_importance.py',
        (
            'gradients: attributes are left changed',
            'vars(o).update(originals)',
            'vars(o).update(copies)',
        ),
        ('gradients: random numbers are used up', 'fork_rng(devices)', 'fork_rng(enabled=False)'),
    ),
    *_of(
        'utils/sampling.py',
        'tests/test_utils/test_sampling.py tests/test_spectra/test_collect.py',
        ('spectra: images follow the run', '            seed_everything(seed)', '            pass'),
    ),
    *_of(
        'cost/formulas.py',
        'tests/test_cost/test_formulas.py',
        (
            'cost: multiply-adds for FLOPs',
            'return 2 * images * prod(weight) * prod(positions)',
            'return images * prod(weight) * prod(positions)',
        ),
        (
            'cost: the gradient of frozen weights',
            'return (wanted[0] + wanted[1]) * convolution_flops',
            'return 2 * convolution_flops',
        ),
        ('cost: attention without its scores', 'query[-1] + value[-1]\n', 'value[-1]\n'),
    ),
    *_of(
        'cost/ledger.py',
        'tests/test_cost/test_ledger.py',
        (
            'cost: what was lost is billed twice',
            "theirs['steps'] - ours['steps']",
            "theirs['steps']",
        ),
        ('cost: nothing is saved', '1 - ours / full', 'ours / full'),
        (
            'cost: the memory of the last phase',
            'max(peaks, default=None)',
            'peaks[-1] if peaks else None',
        ),
    ),
    *_of(
        'cost/plan.py',
        'tests/test_cost/test_flops.py',
        (
            'cost: a plan of one epoch',
            'p.length * self.flops[p.trainable].total',
            'self.flops[p.trainable].total',
        ),
    ),
    *_of(
        'spectra/moments.py',
        'tests/test_spectra/test_moments.py',
        (
            'spectra: positions are not averaged',
            'means.add_(sums.sum(1), alpha=weight)',
            'means.add_(sums.sum(1))',
        ),
        (
            'spectra: masks are left out',
            'pieces = self._whole(flat, most) if mask is None',
            'pieces = self._whole(flat, most) if True',
        ),
        (
            'spectra: half a matrix',
            'matrix = (upper + upper.triu(1).T) / self.images',
            'matrix = upper / self.images',
        ),
        ('spectra: merging forgets images', 'self.images += other.images', 'pass'),
        (
            'spectra: the wrong mean is subtracted',
            'matrix -= torch.outer(mean, mean)',
            'matrix -= torch.outer(mean, mean) * 2',
        ),
    ),
    *_of(
        'spectra/spectrum.py',
        'tests/test_spectra/test_spectrum.py',
        (
            'spectra: a relative threshold is absolute',
            'threshold * values.max(initial=0.0) if relative else threshold',
            'threshold',
        ),
        ('spectra: entropy in bits', 'np.log(part)).sum()))', 'np.log2(part)).sum()))'),
    ),
    *_of(
        'spectra/widths.py',
        'tests/test_spectra/test_widths.py',
        (
            'spectra: a budget is broken',
            'low, high = (middle, high) if fits(middle)',
            'low, high = (middle, high) if True',
        ),
    ),
    *_of(
        'lab/benchmarking/folder.py',
        'tests/test_lab/test_benchmarking/test_queue.py',
        ('benchmark: another config in a folder', 'if changed:', 'if False:'),
        ('benchmark: no lock', 'lock.acquire(timeout=0)', 'pass'),
        (
            'benchmark: a failed run stays failed',
            'path.replace(path.with_name(',
            'print(path.with_name(',
        ),
    ),
    *_of(
        'metrics/scores.py',
        'tests/test_metrics/test_scores.py',
        ('benchmark: rPC upside down', 'mpc / clean if clean', 'clean / mpc if clean'),
    ),
    *_of(
        'utils/loading.py',
        'tests/test_utils/test_loading.py',
        (
            'unloaded: names are enough',
            "return None if same else 'set anew after it was loaded'",
            'return None',
        ),
        ('unloaded: LoRA hides the names', 'setattr(parent, name, child.original_layer)', 'pass'),
    ),
    *_of(
        'freezing/plan.py',
        'tests/test_freezing/test_freeze_plan.py',
        (
            'unloaded: a schedule rules over it',
            'for s in ruled if s.name not in self.always',
            'for s in ruled',
        ),
        ('unloaded: modules stay asleep', 'if whole and held and held <= names:', 'if False:'),
    ),
    *_of(
        'hooks/loading.py',
        'tests/test_hooks/test_unloaded.py',
        (
            'unloaded: a target without any file trains',
            'if len(lost) < len(inside) for n in lost',
            'for n in lost',
        ),
        (
            'unloaded: forgotten after a resume',
            '_of(runner).restore(checkpoint.get(UNLOADED_KEY))',
            '_of(runner).restore(None)',
        ),
    ),
    *_of(
        'distortion/interpolation.py',
        'tests/test_distortion/test_interpolation.py',
        (
            'interpolation: the other way round',
            '(1 - weight) * first + weight * last',
            'weight * first + (1 - weight) * last',
        ),
        (
            'interpolation: in the type of the weights',
            'first.double(), last.double()',
            'first, last',
        ),
        (
            'interpolation: counters are those of the start',
            'not last.is_floating_point() or weight == 1',
            'weight == 1',
        ),
        (
            'interpolation: a target is the whole',
            "prefix = f'{target}.' if target else ''",
            "prefix = ''",
        ),
    ),
    *_of(
        'hooks/probed.py',
        'tests/test_hooks/test_probed.py',
        ('interpolation: no average is kept', 'if isinstance(hook, EMAHook):', 'if False:'),
    ),
    *_of(
        'lab/sweeps/interpolation.py',
        'tests/test_tools/test_interpolate_weights.py',
        (
            'interpolation: of equal ones the last',
            'return min((w for',
            'return max((w for',
        ),
        ('interpolation: files of other ends are taken', '[*self.ends.hashes, ', '['),
    ),
    *_of(
        'lab/benchmarking/after.py',
        'tests/test_lab/test_benchmarking/test_after.py',
        ('interpolation: a test set is chosen on', '== picked\n', 'is picked\n'),
    ),
    *_of(
        'lab/benchmarking/trials.py',
        'tests/test_lab/test_benchmarking/test_trials.py',
        ('trials: the worst is chosen', 'best = max(trials', 'best = min(trials'),
        ('trials: chosen on a test split', "!= 'val':", "== 'x':"),
        ('trials: unfinished ones are left out', 'if len(done) < len(own):', 'if False:'),
    ),
    *_of(
        'lab/benchmarking/report/primary.py',
        'tests/test_lab/test_benchmarking/test_trials.py',
        ('primary: p-values as they are', '(len(p) - rank) * p[name]', 'p[name]'),
        ('primary: adjusted ones fall', 'max(highest, min(', 'max(0.0, min('),
        ('primary: methods with few seeds', "gain.n >= question['seeds']", 'gain.n > 1'),
    ),
    *_of(
        'distortion/projection.py',
        'tests/test_distortion/test_projection.py',
        ('spd: also where the gradient goes on', '(slope > 0) & ', ''),
        ('spd: the other half', '(slope > 0) & ', '(slope < 0) & '),
        (
            'spd: relative to the distance before',
            '((far - near) / far)',
            '((far - near) / near)',
        ),
        ('spd: coeff is nothing', 'self.value * away', 'away'),
    ),
    *_of(
        'freezing/folding.py',
        'tests/test_freezing/test_compiled.py',
        (
            "compiled: the target's own tensors",
            'leading if parts else [*leading',
            'leading or [*leading',
        ),
    ),
    *_of(
        'freezing/forwards.py',
        'tests/test_freezing/test_compiled.py',
        ('compiled: hooks are not seen', 'modes > 0 or any(', 'modes > 0 and any('),
        ('compiled: norms stay', '(id(m), other) for', '(0, other) for'),
    ),
    *_of(
        'distortion/ball.py',
        'tests/test_distortion/test_projection.py',
        ('ftp: k on both signs', 'torch.where(self._slopes > 0, self', 'torch.where(True, self'),
        (
            'ftp: the largest row is no limit',
            'torch.minimum(radii, torch.stack(most), out=radii)',
            'radii',
        ),
        ('ftp: rows are tensors', 'part.flatten(1) if part.dim() > 1 else ', ''),
        ('ftp: a loss scale stays', 'self._slopes /= ', 'self._slopes /= 1 + 0 * '),
        ('ftp: learns from a skipped step', 'torch.where(kept, old, new)', 'new'),
        ('ftp: follows a skipped step', 'torch.where(kept, 0 if unit is None else unit, c)', 'c'),
    ),
    *_of(
        'hooks/anchors.py',
        'tests/test_hooks/test_weight_projection_hook.py',
        ('projection: theta0 is taken anew', 'if saved is not None:\n', 'if False:\n'),
        ('projection: theta0 is copied', 'n for n in names if n not in shared', 'n for n in names'),
    ),
    *_of(
        'distortion/learning_rates.py',
        'tests/test_hooks/test_rgn_learning_rate_hook.py::test_factors '
        'tests/test_hooks/test_rgn_learning_rate_hook.py::test_steps_are_those_of_a_plain_loop',
        ('rgn_lr: one sign', 'if sign > 0 else', 'if True else'),
        ('rgn_lr: norms count', 'if name in values and name not in norms:', 'if name in values:'),
        ('rgn_lr: no floor', 'max(factor, floor)', 'factor'),
    ),
    *_of(
        'hooks/rgn_learning_rate_hook.py',
        'tests/test_hooks/test_rgn_learning_rate_hook.py',
        ('rgn_lr: the rate is not put back', "            group['lr'] = rate", '            pass'),
        (
            'rgn_lr: measured once',
            'due = epoch % self.interval == 0 and epoch != self._epoch',
            'due = self._epoch is None',
        ),
    ),
    *_of(
        'utils/views.py',
        'tests/test_utils/test_views.py',
        ('cache: views are one', 'VIEW, view.index, view.number)', 'VIEW, view.index)'),
    ),
    *_of(
        'freezing/feature_store.py',
        'tests/test_freezing/test_feature_store.py',
        ('cache: no checksum', '(check and zlib', '(False and zlib'),
        ('cache: maps of earlier weights', 'if Path(path).parent != self._place:', 'if False:'),
    ),
    *_of(
        'hooks/feature_cache_hook.py',
        'tests/test_hooks/test_feature_cache_hook.py::test_frozen_spans_begin_anew_with_other_weights',
        ('cache: weights are not in the key', 'hash_of([weights, self', 'hash_of([self'),
    ),
    *_of(
        'hooks/feature_cache_hook.py',
        'tests/test_hooks/test_feature_cache_hook.py::test_what_features_depend_on_has_a_folder_of_its_own',
        ('cache: settings are not in the key', '[weights, self._settings]', '[weights]'),
    ),
]
