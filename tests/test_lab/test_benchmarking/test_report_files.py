"""Reports of fabricated benchmarks, read back and compared with the results in the work dirs."""

import csv
import json
import math
import re
import shutil
import statistics

import fabricated
import pytest
from reading import Page, markdown_tables, numbers

from mmbackbone_plugins.lab.benchmarking.report import write_report
from mmbackbone_plugins.lab.benchmarking.report.__main__ import main

pytest.importorskip('matplotlib')

METHODS = ('full', 'frozen', 'dbf-rho2', 'l2-sp', 'ewc')
DOMAINS = ('clear', 'haze', 'dusk')
UNITS = {'%': 0.01, 'TFLOPs': 1e12, 'min': 60, 'MiB': 2**20, '×\u00a010⁻³': 1e-3}
ERROR = 'RuntimeError: <script>document.title = "broken in"</script>\n```\nmore'
LINK = re.compile(r'!\[(?:\\.|[^\]\\])*\]\(([^)]+)\)')
HOSTILE = '<img src=x onerror=alert(1)>|$a_1$`*[b](c)'


@pytest.fixture(scope='module')
def benchmark(tmp_path_factory):
    """A benchmark with a failed and a missing run, and its report."""
    work_dir = tmp_path_factory.mktemp('study')
    fabricated.make_benchmark(work_dir, METHODS, domains=DOMAINS, size=64)
    fabricated.save(work_dir, fabricated.make_failed('ewc', 2, ERROR))
    missing = work_dir / 'runs/toy/retinanet-r18/l2-sp/seed2'
    (missing / 'result.json').unlink()
    (missing / 'progress.json').write_text('{"done": 0.4}')
    return work_dir, write_report(work_dir)


def raw_results(work_dir):
    """Results by method and seed, read without the package."""
    found = {}
    for path in sorted(work_dir.glob('runs/*/*/*/*/result.json')):
        data = json.loads(path.read_text())
        if data['state'] == 'finished':
            found.setdefault(data['method'], {})[data['seed']] = data
    return found


def quantities():
    """What a column must hold, by heading without its unit."""

    def score(metric, inside):
        def read(r):
            names = [d for d in r['scores'] if (d in r['in_domain']) == inside]
            return statistics.fmean(r['scores'][d][metric] for d in names)

        return read

    return {
        'mAP': score('mAP', True),
        'AP50': score('AP50', True),
        'AP75': score('AP75', True),
        'OOD mAP': score('mAP', False),
        'training': lambda r: r['cost']['flops'],
        'of full': lambda r: r['cost']['flops'] / r['cost']['full_flops'],
        'time': lambda r: r['cost']['seconds'],
        'peak memory': lambda r: r['cost']['peak_memory'],
        'trainable': lambda r: r['cost']['trainable_share'],
        'RGN': lambda r: r['rgn'] and r['rgn']['median'],
        'drift': lambda r: r['drift']['mean'],
    }


def check_table(rows, results):
    """Compares the main table (header and rows of text) with what the results say."""
    header, *rows = rows
    assert [row[0].split(' ')[0] for row in rows] == ['full', 'dbf-rho2', 'ewc', 'frozen', 'l2-sp']
    checked = 0
    for row in rows:
        runs = results[row[0].split(' ')[0]]
        assert row[1] == str(len(runs))
        for heading, text in list(zip(header, row))[2:]:
            name, unit = heading, 1.0
            for suffix, size in UNITS.items():
                if heading.endswith(f' {suffix}'):
                    name, unit = heading[: -len(suffix) - 1], size
            gain = name.endswith(', difference to full')
            read = quantities()[name.replace(', difference to full', '')]
            values = {seed: read(r) for seed, r in runs.items()}
            if gain:
                unit = 0.01
                values = {s: v - read(results['full'][s]) for s, v in values.items()}
            values = [v / unit for v in values.values() if v is not None]
            if not values:
                assert text == '-'
                continue
            mean, sd = statistics.fmean(values), statistics.stdev(values)
            expected = [mean]
            if gain and row[0] == 'full':
                assert text == '0 by definition'
            elif gain and len(values) == 2:
                assert text.endswith(' no interval')
            elif gain:
                expected += [mean - fabricated.HALF * sd, mean + fabricated.HALF * sd]
            elif '±' in text:
                expected.append(sd)
            else:  # left out where it rounds to 0
                assert sd <= numbers(text)[0][1] * 1.001
            found = numbers(text)
            assert len(found) == len(expected), (heading, text)
            for (number, half), value in zip(found, expected):
                assert number == pytest.approx(value, abs=half * 1.001), (row[0], heading)
                checked += 1
    return checked


def test_numbers_are_those_of_the_work_dirs(benchmark):
    work_dir, page = benchmark
    results = raw_results(work_dir)
    title = 'Scores and cost: toy/retinanet-r18'
    rows = Page(page.read_text()).tables[title]
    rows = [[' '.join(part for part in cell if part) for cell in row] for row in rows]
    assert check_table(rows, results) > 90
    assert markdown_tables((page.parent / 'report.md').read_text())[title] == rows


def test_scores_by_test_set_are_those_of_the_work_dirs(benchmark):
    work_dir, page = benchmark
    results = raw_results(work_dir)
    title = 'mAP by test set, %: toy/retinanet-r18'
    header, *rows = Page(page.read_text()).tables[title]
    assert [text for text, _ in header] == ['method', 'clear (in domain)', 'haze', 'dusk']
    for (method, _), *cells in rows:
        for domain, (text, _) in zip(DOMAINS, cells):
            scores = [100 * r['scores'][domain]['mAP'] for r in results[method].values()]
            (mean, half), (sd, _) = numbers(text)
            assert mean == pytest.approx(statistics.fmean(scores), abs=half * 1.001)
            assert sd == pytest.approx(statistics.stdev(scores), abs=half * 1.001)
    header, *rows = markdown_tables((page.parent / 'report.md').read_text())[title]
    assert rows[0][0] == 'full' and len(rows) == 5


def test_unrounded_numbers_are_beside_it(benchmark):
    work_dir, page = benchmark
    results = raw_results(work_dir)
    with (page.parent / 'runs.csv').open() as file:
        rows = {(row['method'], int(row['seed'])): row for row in csv.DictReader(file)}
    assert len(rows) == 15 and rows['ewc', 2]['state'] == 'failed'
    assert rows['l2-sp', 2]['state'] == 'missing' and rows['l2-sp', 2]['mAP'] == ''
    for method, runs in results.items():
        for seed, result in runs.items():
            row = rows[method, seed]
            assert float(row['flops']) == result['cost']['flops']
            assert float(row['haze/AP75']) == result['scores']['haze']['AP75']
    summary = json.loads((page.parent / 'summary.json').read_text())
    group = summary['groups'][0]
    values = group['methods']['frozen']['estimates']['ood_mAP']['values']
    haze, dusk = (results['frozen'][1]['scores'][d]['mAP'] for d in ('haze', 'dusk'))
    assert values['1'] == pytest.approx((haze + dusk) / 2)
    assert summary['failed'] == {'toy/retinanet-r18/ewc/seed2': ERROR}


def test_failed_and_missing_runs_are_named(benchmark):
    work_dir, page = benchmark
    html = Page(page.read_text())
    markdown = (page.parent / 'report.md').read_text()
    assert 'script' not in html.tags  # and the message of the failed run is text
    for text in (html.text, markdown):
        assert '13 of 15 runs finished, 1 failed, 1 missing.' in text
        assert ERROR in text
        assert 'toy/retinanet-r18/l2-sp/seed2 (40% trained)' in text
        assert 'No result yet: l2-sp (seed 2).' in text
        assert 'ewc, seed 2: the run failed and is in no number.' in text
        assert 'There is no plan.yml' in text
        assert f'python -m mmbackbone_plugins.lab.benchmarking.report {work_dir}' in text
    runs = html.tables['All runs']
    assert len(runs) == 1 + 15
    commands = [row[-1][0] for row in runs[1:]]
    assert sum('--only toy/retinanet-r18/' in command for command in commands) == 14
    facts = html.text
    for fact in ('2.11.0', 'AMD EPYC', '3.5.1', '0, 1, 2'):
        assert fact in facts


def test_page_is_one_file_and_markdown_links_resolve(benchmark):
    _, page = benchmark
    images = Page(page.read_text()).images
    assert len(images) > 20 and all(i['src'].startswith('data:image/') for i in images)
    assert all(image['alt'] for image in images)
    links = re.findall(LINK, (page.parent / 'report.md').read_text())
    assert len(links) == len(images)
    assert all((page.parent / link).stat().st_size > 500 for link in links)
    assert page.stat().st_size < 5e6
    assert not re.search(r'(?:src|href)="(?!data:|#)', page.read_text())


def test_the_report_says_once_what_it_is_made_from(benchmark):
    work_dir, page = benchmark
    command = f'python -m mmbackbone_plugins.lab.benchmarking.report {work_dir}'
    markdown = (page.parent / 'report.md').read_text()
    for text in (Page(page.read_text()).text, markdown):
        assert text.count(command) == 1
        for file in ('result.json', 'train/*/vis_data/scalars.json', 'detections.json'):
            assert text.count(f'seed<k>/{file}') == 1
    captions = re.split(r'^### ', markdown, flags=re.M)[1:]
    assert len(captions) == 11
    assert not any('/runs/' in part.partition('## ')[0] for part in captions)


def test_equal_results_give_equal_figures(tmp_path):
    fabricated.make_benchmark(tmp_path / 'a', METHODS[:2], (0, 1), DOMAINS, logs=False, size=None)
    one, two = (write_report(tmp_path / 'a', tmp_path / name).parent for name in 'bc')
    files = sorted(path.name for path in (one / 'figures').iterdir())
    assert len(files) == 5
    for file in files:
        assert (one / 'figures' / file).read_bytes() == (two / 'figures' / file).read_bytes()


def test_a_new_report_removes_only_its_own_old_figures(tmp_path):
    fabricated.make_benchmark(tmp_path, ('full', 'se'), (0,), DOMAINS[:1], size=64)
    figures = write_report(tmp_path).parent / 'figures'
    gone = figures / 'toy-retinanet-r18-curves-se.svg'
    assert gone.is_file()
    (figures / 'mine.svg').write_text('<svg/>')
    shutil.rmtree(tmp_path / 'runs/toy/retinanet-r18/se')
    shutil.rmtree(tmp_path / 'images')
    text = (write_report(tmp_path).parent / 'report.md').read_text()
    assert f'Not there any more, and not drawn: {tmp_path / "images" / "clear.png"}.' in text
    assert not gone.exists() and (figures / 'mine.svg').is_file()
    assert (figures / 'toy-retinanet-r18-curves-full.svg').is_file()


def test_hostile_names_stay_text(tmp_path):
    for method in ('full', HOSTILE):
        for seed in (0, 1, 2):
            result = fabricated.make_result(method, seed, domains=('clear', '<b>fog</b>|$'))
            folder = fabricated.save(tmp_path, result)
    fabricated.write_logs(folder, result)  # a curve and a spectrum of the hostile one
    page = write_report(tmp_path, title='<script>alert("title")</script>')
    html = Page(page.read_text())
    assert {'script', 'b', 'iframe'}.isdisjoint(html.tags)
    assert html.images and all(image['src'].startswith('data:') for image in html.images)
    tables = html.tables
    assert tables['Scores and cost: toy/retinanet-r18'][2][0][0] == HOSTILE
    text = (page.parent / 'report.md').read_text()
    fenced = re.sub(r'^```.*?^```$', '', text, flags=re.M | re.S)
    assert '<img' not in fenced and '<script' not in fenced and '<b>' not in fenced
    rows = markdown_tables(text)['Scores and cost: toy/retinanet-r18']
    assert rows[2][0] == HOSTILE and len({len(row) for row in rows}) == 1
    links = re.findall(LINK, fenced)
    assert all((page.parent / link).is_file() for link in links)


@pytest.mark.parametrize(
    'methods, seeds', [(('full',), (0, 1, 2)), (('full', 'se'), (4,)), (('se',), (0,))]
)
def test_small_benchmarks(tmp_path, methods, seeds):
    fabricated.make_benchmark(tmp_path, methods, seeds, DOMAINS[:1], logs=False, size=None)
    text = (write_report(tmp_path).parent / 'report.md').read_text()
    assert f'{len(methods) * len(seeds)} of {len(methods) * len(seeds)} runs finished.' in text
    rows = markdown_tables(text)['Scores and cost: toy/retinanet-r18']
    row = dict(zip(*rows[:2]))
    assert row['n'] == str(len(seeds)) and row['OOD mAP %'] == '-'
    assert ('±' in row['mAP %']) == (len(seeds) > 1)
    assert 'not defined' in text and 'no finished run has kept any' in text
    assert ('Fewer than 3 seeds' in text) == (len(seeds) < 3)
    assert ("'full' has no finished run" in text) == ('full' not in methods)


def test_scores_that_are_not_there(tmp_path):
    for method, value in (('full', 0.5), ('se', math.nan), ('ewc', None)):
        result = fabricated.make_result(method, 0, domains=DOMAINS, rgn=None, drift=None, cost={})
        result.scores['haze']['mAP'] = value
        fabricated.save(tmp_path, result)
    page = write_report(tmp_path)
    text = (page.parent / 'report.md').read_text()
    rows = markdown_tables(text)['Scores and cost: toy/retinanet-r18']
    found = {row[0]: dict(zip(rows[0], row)) for row in rows[1:]}
    assert found['full']['OOD mAP %'] != '-'
    assert found['se']['OOD mAP %'] == found['ewc']['OOD mAP %'] == '-'
    assert found['se']['mAP %'] != '-'
    assert 'se, seed 0: no mAP on haze, hence no OOD mAP' in text
    assert 'NaN' not in (page.parent / 'summary.json').read_text()


def test_a_plan_says_which_runs_there_should_be(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'a.py').write_text('')
    plan = 'seeds: [0, 1]\ndatasets: {toy: }\ndetectors: [r18]\nmethods: {se: a.py, full: a.py}\n'
    plan += 'options: {}\n'
    plan = plan.replace('full: a.py', 'full: {config: a.py, options: {x: 1}}')
    (tmp_path / 'plan.yml').write_text(plan)
    fabricated.save(tmp_path, fabricated.make_result('se', 0, detector='r18'))
    text = (write_report(tmp_path).parent / 'report.md').read_text()
    assert '1 of 4 runs finished, 3 missing.' in text
    rows = markdown_tables(text)['Scores and cost: toy/r18']
    assert [row[0] for row in rows[1:]] == ['se 1 missing', 'full 2 missing']
    (tmp_path / 'a.py').unlink()
    text = (write_report(tmp_path).parent / 'report.md').read_text()
    assert 'The plan could not be read from here' in text and '1 of 1 runs finished.' in text


def test_command_line_and_bad_input(tmp_path, capsys):
    assert main([str(tmp_path / 'none')]) == 2
    assert 'does not exist' in capsys.readouterr().err
    assert main([str(tmp_path)]) == 2
    assert 'nothing to report' in capsys.readouterr().err
    folder = fabricated.save(tmp_path, fabricated.make_result('full', 0, domains=DOMAINS))
    assert main([str(tmp_path), '--out', str(tmp_path / 'out'), '--title', 'A title']) == 0
    assert capsys.readouterr().out == f'wrote {tmp_path / "out" / "report.html"}\n'
    page = (tmp_path / 'out' / 'report.html').read_text()
    assert '<title>A title</title>' in page and f'--out {tmp_path / "out"}' in page
    (folder / 'result.json').write_text('{"version": 99}')
    assert main([str(tmp_path)]) == 2
    assert 'version 99' in capsys.readouterr().err
