"""Everything a run can be told, and what a user is told when it cannot be done.

    schema         all settings: types, defaults, limits, meaning
    loading        YAML files and `key=value`; fingerprints
    command_line   the command line of run.sh; programs that report user errors in one line
    errors         the line that a failure is reported with
    table          docs/settings.md
"""
