"""The verbs of `./lab`. The Pulumi program imports nothing from here.

command_line    the arguments of all verbs, and the help        needs        what a command needs before it can run
__main__        imports the module of the verb                  errors       what ends a verb with a message
version         of the file VERSION, and the commit of a checkout
verbs/          one module per verb, with `main(options)`: up, preview, destroy, refresh, pulumi (they become pulumi), status,
                diagram, ssh, kubectl, logs (they read a stack that exists), attach (its file alone), doctor, fetch, test,
                backup and restore (which runs pulumi more than once)
checks/         what doctor examines: tools, hypervisor, machine, download_sites; they yield findings

Pulumi      backend (state, passphrase, login), selection (the stack and its file), engine (the program, plugins), locks, hints,
            unread (keys of the stack's file that Pulumi reads past)
a stack     stack (settings and outputs), stack_yaml (its file as Pulumi reads it), kube and hypervisor (what the cluster and
            libvirt report); what follows from the report for the pods' addresses: networks, duplicates, usage, book (of
            addresses) and attachments (of networks that have changed)
a backup    backup_file (its form), data_key (its key, encrypted by pulumi), restore_checks (what is refused), node_scripts (scripts
            on the nodes, with what they are sent and print)
machine     folders, process (other programs), report (lines on stderr), waiting (with a limit), skopeo (images, for
            fetch), closed_network (for test)

A new verb: its arguments in `command_line`, what it needs in `needs`, and a module in `verbs`. A new check of doctor: a function
in a module of `checks`, called in `checks/hypervisor.py` where an error is to stop `up`, else in `verbs/doctor.py`.
"""
