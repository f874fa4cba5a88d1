# Importing the package registers its hooks and schedules. Every config of the zoo has this line,
# baselines too: the methods then differ in `custom_hooks` and in nothing else.
custom_imports = dict(imports=['mmbackbone_plugins'], allow_failed_imports=False)
