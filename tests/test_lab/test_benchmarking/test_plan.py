"""Plans: what they expand to, and what is refused before anything starts."""

import pytest

from mmbackbone_plugins.lab.benchmarking import RunFolder, read_plan
from mmbackbone_plugins.lab.launch import register_modules
from mmbackbone_plugins.lab.toy import make_toy_dataset

PLAN = """
seeds: [0, 1]
options: {train_cfg.max_epochs: 3}
datasets:
  dota:
    options: {a.b: 1}
    tests:
      dota: {split: val}
      dior: {options: {test_dataloader.dataset.data_root: data/dior}}
detectors:
  small: {name: small_r18, options: {a.b: 2}}
methods:
  full: zoo/baselines/{detector}_{dataset}.py
  dbf: {config: 'zoo/dbf/{detector}_{dataset}.py', options: {a.b: 3}}
"""


@pytest.fixture
def read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ('baselines', 'dbf'):
        (tmp_path / 'zoo' / folder).mkdir(parents=True)
        (tmp_path / 'zoo' / folder / 'small_r18_dota.py').write_text('a = dict(b=0)\n')

    def reader(*edits, text=PLAN):
        for old, new in edits:
            assert old in text
            text = text.replace(old, new)
        (tmp_path / 'p.yml').write_text(text)
        return read_plan('p.yml')

    return reader


def test_runs(read):
    plan = read()
    assert [run.name for run in plan.runs] == [
        f'dota/small/{method}/seed{seed}' for seed in (0, 1) for method in ('full', 'dbf')
    ]
    full, dbf = plan.runs[:2]
    assert full.config == 'zoo/baselines/small_r18_dota.py'
    # The plan's options, the data set's, the detector's, the method's: the later ones win.
    assert full.options == {'train_cfg.max_epochs': 3, 'a.b': 2}
    assert dbf.options == {'train_cfg.max_epochs': 3, 'a.b': 3}
    assert [(test.name, test.split) for test in full.tests] == [('dota', 'val'), ('dior', 'test')]
    assert full.tests[1].options == {'test_dataloader.dataset.data_root': 'data/dior'}
    assert full.in_domain == ('dota',)
    assert set(full.measure) == {'cost', 'rgn', 'drift', 'eigenspectrum'}
    assert str(plan.work_dir) == 'work_dirs/p'


def test_short_forms(read):
    plan = read(
        ('  dota:\n    options: {a.b: 1}\n    tests:\n', '  dota:\n    tests:\n'),
        ('  small: {name: small_r18, options: {a.b: 2}}', '  [small_r18]'),
        ('detectors:\n  [', 'detectors: ['),
        ('methods:', 'measure: {rgn: {interval: 5}}\nmethods:'),
    )
    assert plan.runs[0].name == 'dota/small_r18/full/seed0'
    assert plan.runs[0].measure == {'rgn': {'interval': 5}}


def test_merge_keys(read):
    """What ``<<`` brings may be set anew, without being there twice."""
    more = """  again: &more {config: 'zoo/dbf/{detector}_{dataset}.py', options: {a.b: 4}}
  other: {<<: *more, options: {a.b: 5}}
"""
    runs = {run.method: run for run in read(text=PLAN + more).runs}
    assert runs['again'].config == runs['other'].config == 'zoo/dbf/small_r18_dota.py'
    assert [runs[name].options['a.b'] for name in ('again', 'other')] == [4, 5]
    with pytest.raises(ValueError, match="'options' is there twice"):
        read(text=PLAN + more.replace('options: {a.b: 5}', 'options: {a.b: 5}, options: {}'))


def test_only(read):
    plan = read()
    assert [r.name for r in plan.only(['*/seed1'])] == [
        'dota/small/full/seed1',
        'dota/small/dbf/seed1',
    ]
    assert [r.seed for r in plan.only(['dota/small/dbf'])] == [0, 1]
    assert plan.only([]) == plan.runs
    with pytest.raises(ValueError, match="--only 'dota/small/bdf' matches no run.*nearest: do"):
        plan.only(['dota/small/bdf'])


@pytest.mark.parametrize(
    'old, new, message',
    [
        (
            'zoo/dbf/',
            'zoo/dbff/',
            "unknown method 'dbf': config 'zoo/dbff/small_r18_dota.py' does not exist",
        ),
        ('seeds: [0, 1]', 'seeds: [0, 0]', 'seeds has duplicates'),
        ('seeds: [0, 1]', 'seeds: 3', 'seeds must be a list of integers, got 3'),
        ('seeds: [0, 1]', 'seed: [0]', "unknown entry 'seed'; nearest: seeds"),
        ('  dbf: {config', '  full: {config', "'full' is there twice"),
        ('  dbf: {config', '  a/b: {config', "a name must be .* got 'a/b'"),
        ('tests:', 'test:', "datasets.dota has an unknown entry 'test'; nearest: tests"),
        ('split: val', 'split: train', "split must be 'test' or 'val', got 'train'"),
        ('    tests:', '    in_domain: [voc]\n    tests:', r"in_domain must be some .*\['voc'\]"),
        ('split: val', 'config: x.py', "tests.dota: config 'x.py' does not exist"),
        ('{a.b: 3}', '3', 'options must be a mapping'),
        (
            '{detector}_{dataset}.py\n',
            '{model}.py\n',
            'methods.full: config may have {dataset} and {detector} only',
        ),
        ('methods:', 'measure: [speed]\nmethods:', "measure has an unknown entry 'speed'"),
        ('methods:', 'prepare: [{makes: x}]\nmethods:', 'prepare has no run'),
        ('methods:', 'methods: [', 'no valid YAML'),
        ('detectors:\n  small: {name: small_r18, options: {a.b: 2}}', '', 'has no detectors'),
    ],
)
def test_bad_plans(read, old, new, message):
    with pytest.raises(ValueError, match=message) as error:
        read((old, new))
    assert "plan 'p.yml'" in str(error.value)


def test_the_same_run_under_two_names(read):
    twice = "  dbf2: {config: 'zoo/dbf/{detector}_{dataset}.py', options: {a.b: 3}}\n"
    with pytest.raises(ValueError, match='dbf/seed0 and dota/small/dbf2/seed0 are the same run'):
        read(text=PLAN + twice)


def test_no_plan(tmp_path):
    with pytest.raises(FileNotFoundError, match="plan '.*none.yml' does not exist"):
        read_plan(tmp_path / 'none.yml')


def test_the_plan_of_the_study_is_sound(monkeypatch):
    monkeypatch.chdir(__file__.rsplit('/tests/', 1)[0])
    plan = read_plan('configs/toy_study/plan.yml')
    assert len(plan.runs) == 33
    assert len({run.seed for run in plan.runs}) >= 3
    assert [test.name for test in plan.runs[0].tests][0] == 'clear'


def test_the_plan_for_dota_and_dior(monkeypatch, tmp_path):
    """Its configs exist, and its test sets are built by mmrotate, here of drawn pictures."""
    from mmengine.config import Config
    from mmengine.registry import DATASETS, init_default_scope

    register_modules()
    monkeypatch.chdir(__file__.rsplit('/tests/', 1)[0])
    plan = read_plan('configs/benchmark/aerial.yml')
    assert len(plan.runs) == 2 * 2 * 10 * 3
    assert set(plan.checks) == {'dota', 'dior'}
    for fmt in plan.checks:
        make_toy_dataset(tmp_path / fmt, fmt=fmt, counts=(1, 2, 3), size=128)
    for dataset in plan.checks:
        run = next(run for run in plan.runs if run.dataset == dataset)
        cfg = RunFolder.of(plan, run).config()
        init_default_scope(cfg.default_scope)
        for test in run.tests:
            where = Config.fromfile(test.config) if test.config else cfg
            config = where[f'{test.split}_dataloader'].dataset
            fmt = test.name.split('-')[0]
            assert fmt.upper() in config.data_root or fmt in config.data_root
            config.data_root = str(tmp_path / fmt)
            # DOTA's val, DIOR-R's test: what has public labels.
            assert len(DATASETS.build(config)) == {'dota': 2, 'dior': 3}[fmt]
