"""Many photos, whatever they are done for: one folder, one record, several processes.

    stage        a stage from its plan to its summary
    manifest     manifest.json and summary.csv
    run_folder   OUT: its lock, names in it, what a killed run left
    files        files and folders that are never half written; fingerprints
    jobs         tasks in several processes
    backends     what `auto` stands for: device, features, renderer, and what they cost
    machine      processors and memory that this process may use
    progress     a bar or lines, and forecasts of long runs
    prepare.sh   the environment
"""
