# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_chime_client_global_optspecs
    string join \n udp server= timeout= json v/verbose 4 6 h/help V/version
end

function __fish_chime_client_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_chime_client_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_chime_client_using_subcommand
    set -l cmd (__fish_chime_client_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c chime-client -n "__fish_chime_client_needs_command" -l server -d 'The server; the port is 9990, or 8089 with --udp, unless given; udp://HOST stands for --udp' -r
complete -c chime-client -n "__fish_chime_client_needs_command" -l timeout -d 'The longest wait to connect, and for each whole reply, such as 500ms or 2s' -r
complete -c chime-client -n "__fish_chime_client_needs_command" -l udp -d 'Ask over UDP: day, date, time and now, in up to three tries, and bench'
complete -c chime-client -n "__fish_chime_client_needs_command" -l json -d 'Print answers as JSON, an object a line; of bench, the report'
complete -c chime-client -n "__fish_chime_client_needs_command" -s v -l verbose -d 'Tell the address, the welcome, and how long each step takes'
complete -c chime-client -n "__fish_chime_client_needs_command" -s 4 -d 'Use IPv4 addresses only'
complete -c chime-client -n "__fish_chime_client_needs_command" -s 6 -d 'Use IPv6 addresses only'
complete -c chime-client -n "__fish_chime_client_needs_command" -s h -l help -d 'Print help'
complete -c chime-client -n "__fish_chime_client_needs_command" -s V -l version -d 'Print version'
complete -c chime-client -n "__fish_chime_client_needs_command" -f -a "day" -d 'Print the weekday'
complete -c chime-client -n "__fish_chime_client_needs_command" -f -a "date" -d 'Print the date, as 26-11-21'
complete -c chime-client -n "__fish_chime_client_needs_command" -f -a "time" -d 'Print the time of day, as 06:32:06'
complete -c chime-client -n "__fish_chime_client_needs_command" -f -a "now" -d 'Print date and time of day, with microseconds'
complete -c chime-client -n "__fish_chime_client_needs_command" -f -a "sum" -d 'Print the sum of the digits'
complete -c chime-client -n "__fish_chime_client_needs_command" -f -a "help" -d 'Print the commands of the protocol, as the server tells them'
complete -c chime-client -n "__fish_chime_client_needs_command" -f -a "send" -d 'Send one line as it is and print the reply; send time asks for date and time, as now does'
complete -c chime-client -n "__fish_chime_client_needs_command" -f -a "bench" -d 'Load a server of any line protocol, and measure how it answers'
complete -c chime-client -n "__fish_chime_client_using_subcommand day" -l server -d 'The server; the port is 9990, or 8089 with --udp, unless given; udp://HOST stands for --udp' -r
complete -c chime-client -n "__fish_chime_client_using_subcommand day" -l timeout -d 'The longest wait to connect, and for each whole reply, such as 500ms or 2s' -r
complete -c chime-client -n "__fish_chime_client_using_subcommand day" -l udp -d 'Ask over UDP: day, date, time and now, in up to three tries, and bench'
complete -c chime-client -n "__fish_chime_client_using_subcommand day" -l json -d 'Print answers as JSON, an object a line; of bench, the report'
complete -c chime-client -n "__fish_chime_client_using_subcommand day" -s v -l verbose -d 'Tell the address, the welcome, and how long each step takes'
complete -c chime-client -n "__fish_chime_client_using_subcommand day" -s 4 -d 'Use IPv4 addresses only'
complete -c chime-client -n "__fish_chime_client_using_subcommand day" -s 6 -d 'Use IPv6 addresses only'
complete -c chime-client -n "__fish_chime_client_using_subcommand day" -s h -l help -d 'Print help'
complete -c chime-client -n "__fish_chime_client_using_subcommand date" -l server -d 'The server; the port is 9990, or 8089 with --udp, unless given; udp://HOST stands for --udp' -r
complete -c chime-client -n "__fish_chime_client_using_subcommand date" -l timeout -d 'The longest wait to connect, and for each whole reply, such as 500ms or 2s' -r
complete -c chime-client -n "__fish_chime_client_using_subcommand date" -l udp -d 'Ask over UDP: day, date, time and now, in up to three tries, and bench'
complete -c chime-client -n "__fish_chime_client_using_subcommand date" -l json -d 'Print answers as JSON, an object a line; of bench, the report'
complete -c chime-client -n "__fish_chime_client_using_subcommand date" -s v -l verbose -d 'Tell the address, the welcome, and how long each step takes'
complete -c chime-client -n "__fish_chime_client_using_subcommand date" -s 4 -d 'Use IPv4 addresses only'
complete -c chime-client -n "__fish_chime_client_using_subcommand date" -s 6 -d 'Use IPv6 addresses only'
complete -c chime-client -n "__fish_chime_client_using_subcommand date" -s h -l help -d 'Print help'
complete -c chime-client -n "__fish_chime_client_using_subcommand time" -l server -d 'The server; the port is 9990, or 8089 with --udp, unless given; udp://HOST stands for --udp' -r
complete -c chime-client -n "__fish_chime_client_using_subcommand time" -l timeout -d 'The longest wait to connect, and for each whole reply, such as 500ms or 2s' -r
complete -c chime-client -n "__fish_chime_client_using_subcommand time" -l udp -d 'Ask over UDP: day, date, time and now, in up to three tries, and bench'
complete -c chime-client -n "__fish_chime_client_using_subcommand time" -l json -d 'Print answers as JSON, an object a line; of bench, the report'
complete -c chime-client -n "__fish_chime_client_using_subcommand time" -s v -l verbose -d 'Tell the address, the welcome, and how long each step takes'
complete -c chime-client -n "__fish_chime_client_using_subcommand time" -s 4 -d 'Use IPv4 addresses only'
complete -c chime-client -n "__fish_chime_client_using_subcommand time" -s 6 -d 'Use IPv6 addresses only'
complete -c chime-client -n "__fish_chime_client_using_subcommand time" -s h -l help -d 'Print help'
complete -c chime-client -n "__fish_chime_client_using_subcommand now" -l server -d 'The server; the port is 9990, or 8089 with --udp, unless given; udp://HOST stands for --udp' -r
complete -c chime-client -n "__fish_chime_client_using_subcommand now" -l timeout -d 'The longest wait to connect, and for each whole reply, such as 500ms or 2s' -r
complete -c chime-client -n "__fish_chime_client_using_subcommand now" -l udp -d 'Ask over UDP: day, date, time and now, in up to three tries, and bench'
complete -c chime-client -n "__fish_chime_client_using_subcommand now" -l json -d 'Print answers as JSON, an object a line; of bench, the report'
complete -c chime-client -n "__fish_chime_client_using_subcommand now" -s v -l verbose -d 'Tell the address, the welcome, and how long each step takes'
complete -c chime-client -n "__fish_chime_client_using_subcommand now" -s 4 -d 'Use IPv4 addresses only'
complete -c chime-client -n "__fish_chime_client_using_subcommand now" -s 6 -d 'Use IPv6 addresses only'
complete -c chime-client -n "__fish_chime_client_using_subcommand now" -s h -l help -d 'Print help'
complete -c chime-client -n "__fish_chime_client_using_subcommand sum" -l file -d 'Read the digits from a file of any size; white space at its end does not count' -r -F
complete -c chime-client -n "__fish_chime_client_using_subcommand sum" -l server -d 'The server; the port is 9990, or 8089 with --udp, unless given; udp://HOST stands for --udp' -r
complete -c chime-client -n "__fish_chime_client_using_subcommand sum" -l timeout -d 'The longest wait to connect, and for each whole reply, such as 500ms or 2s' -r
complete -c chime-client -n "__fish_chime_client_using_subcommand sum" -l udp -d 'Ask over UDP: day, date, time and now, in up to three tries, and bench'
complete -c chime-client -n "__fish_chime_client_using_subcommand sum" -l json -d 'Print answers as JSON, an object a line; of bench, the report'
complete -c chime-client -n "__fish_chime_client_using_subcommand sum" -s v -l verbose -d 'Tell the address, the welcome, and how long each step takes'
complete -c chime-client -n "__fish_chime_client_using_subcommand sum" -s 4 -d 'Use IPv4 addresses only'
complete -c chime-client -n "__fish_chime_client_using_subcommand sum" -s 6 -d 'Use IPv6 addresses only'
complete -c chime-client -n "__fish_chime_client_using_subcommand sum" -s h -l help -d 'Print help'
complete -c chime-client -n "__fish_chime_client_using_subcommand help" -l server -d 'The server; the port is 9990, or 8089 with --udp, unless given; udp://HOST stands for --udp' -r
complete -c chime-client -n "__fish_chime_client_using_subcommand help" -l timeout -d 'The longest wait to connect, and for each whole reply, such as 500ms or 2s' -r
complete -c chime-client -n "__fish_chime_client_using_subcommand help" -l udp -d 'Ask over UDP: day, date, time and now, in up to three tries, and bench'
complete -c chime-client -n "__fish_chime_client_using_subcommand help" -l json -d 'Print answers as JSON, an object a line; of bench, the report'
complete -c chime-client -n "__fish_chime_client_using_subcommand help" -s v -l verbose -d 'Tell the address, the welcome, and how long each step takes'
complete -c chime-client -n "__fish_chime_client_using_subcommand help" -s 4 -d 'Use IPv4 addresses only'
complete -c chime-client -n "__fish_chime_client_using_subcommand help" -s 6 -d 'Use IPv6 addresses only'
complete -c chime-client -n "__fish_chime_client_using_subcommand help" -s h -l help -d 'Print help'
complete -c chime-client -n "__fish_chime_client_using_subcommand send" -l server -d 'The server; the port is 9990, or 8089 with --udp, unless given; udp://HOST stands for --udp' -r
complete -c chime-client -n "__fish_chime_client_using_subcommand send" -l timeout -d 'The longest wait to connect, and for each whole reply, such as 500ms or 2s' -r
complete -c chime-client -n "__fish_chime_client_using_subcommand send" -l udp -d 'Ask over UDP: day, date, time and now, in up to three tries, and bench'
complete -c chime-client -n "__fish_chime_client_using_subcommand send" -l json -d 'Print answers as JSON, an object a line; of bench, the report'
complete -c chime-client -n "__fish_chime_client_using_subcommand send" -s v -l verbose -d 'Tell the address, the welcome, and how long each step takes'
complete -c chime-client -n "__fish_chime_client_using_subcommand send" -s 4 -d 'Use IPv4 addresses only'
complete -c chime-client -n "__fish_chime_client_using_subcommand send" -s 6 -d 'Use IPv6 addresses only'
complete -c chime-client -n "__fish_chime_client_using_subcommand send" -s h -l help -d 'Print help'
complete -c chime-client -n "__fish_chime_client_using_subcommand bench" -l connections -d 'Connections, or sockets with --udp' -r
complete -c chime-client -n "__fish_chime_client_using_subcommand bench" -l in-flight -d 'Requests on their way at one time on each connection, up to 100000' -r
complete -c chime-client -n "__fish_chime_client_using_subcommand bench" -l duration -d 'How long to send, such as 30s or 5m; 10s unless given' -r
complete -c chime-client -n "__fish_chime_client_using_subcommand bench" -l requests -d 'How many requests to send over all connections, in place of --duration' -r
complete -c chime-client -n "__fish_chime_client_using_subcommand bench" -l warm-up -d 'How long to send before it is measured; 1s unless given' -r
complete -c chime-client -n "__fish_chime_client_using_subcommand bench" -l rate -d 'Requests due a second over all connections, at most a billion, in place of as many as it takes' -r
complete -c chime-client -n "__fish_chime_client_using_subcommand bench" -l request -d 'The line to send, without its end' -r
complete -c chime-client -n "__fish_chime_client_using_subcommand bench" -l greeting-lines -d 'The lines that the server sends first on a connection' -r
complete -c chime-client -n "__fish_chime_client_using_subcommand bench" -l reply-lines -d 'The lines of a reply' -r
complete -c chime-client -n "__fish_chime_client_using_subcommand bench" -l server -d 'The server; the port is 9990, or 8089 with --udp, unless given; udp://HOST stands for --udp' -r
complete -c chime-client -n "__fish_chime_client_using_subcommand bench" -l timeout -d 'The longest wait to connect, and for each whole reply, such as 500ms or 2s' -r
complete -c chime-client -n "__fish_chime_client_using_subcommand bench" -l churn -d 'A connection for each request: connect, greeting, request, reply, close'
complete -c chime-client -n "__fish_chime_client_using_subcommand bench" -l udp -d 'Ask over UDP: day, date, time and now, in up to three tries, and bench'
complete -c chime-client -n "__fish_chime_client_using_subcommand bench" -l json -d 'Print answers as JSON, an object a line; of bench, the report'
complete -c chime-client -n "__fish_chime_client_using_subcommand bench" -s v -l verbose -d 'Tell the address, the welcome, and how long each step takes'
complete -c chime-client -n "__fish_chime_client_using_subcommand bench" -s 4 -d 'Use IPv4 addresses only'
complete -c chime-client -n "__fish_chime_client_using_subcommand bench" -s 6 -d 'Use IPv6 addresses only'
complete -c chime-client -n "__fish_chime_client_using_subcommand bench" -s h -l help -d 'Print help'
