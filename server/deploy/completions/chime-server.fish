complete -c chime-server -l tcp -d 'Address to serve over TCP; may be given more than once' -r
complete -c chime-server -l udp -d 'Address to serve over UDP; may be given more than once' -r
complete -c chime-server -l service -d 'Commands offered over TCP: all, or day, date and time, or digit sums; quit and exit in any case' -r -f -a "both\t''
date-time\t''
digit-sum\t''"
complete -c chime-server -l framing -d 'Where a command ends over TCP: at the end of a line, or of what one read returns (legacy clients)' -r -f -a "line\t''
read\t''"
complete -c chime-server -l workers -d 'Threads that serve [default: one for each core]' -r
complete -c chime-server -l max-connections -d 'Connections served at one time; others are told that the server is full' -r
complete -c chime-server -l max-connections-per-address -d 'Connections that one address may have at one time, or one IPv6 network /64 [default: no limit]' -r
complete -c chime-server -l allow -d 'Serve only clients of this network; may be given more than once [default: all]' -r
complete -c chime-server -l deny -d 'Do not serve clients of this network, even if allowed; may be given more than once [default: none]' -r
complete -c chime-server -l udp-rate -d 'Datagrams answered a second for each network /24, or /56 of IPv6 [default: no limit]' -r
complete -c chime-server -l idle-timeout -d 'Close a connection on which no byte moved for this long' -r
complete -c chime-server -l line-timeout -d 'Close a connection whose line does not end within this time, plus a second for each 500 bytes of it' -r
complete -c chime-server -l write-timeout -d 'Close a connection whose client reads no reply for this long, plus 1 s per 2,000 bytes written to it, at most 66 s' -r
complete -c chime-server -l drain-delay -d 'After a signal to stop, go on accepting for this long, while /readyz says no' -r
complete -c chime-server -l drain-timeout -d 'After the drain delay, cut connections that are still open after this long' -r
complete -c chime-server -l log -d 'Log what is at least this severe, on standard error' -r -f -a "off\t''
error\t''
warn\t''
info\t''
debug\t''
trace\t''"
complete -c chime-server -l log-format -d 'What a line of the log looks like' -r -f -a "text\t'For people'
json\t'A JSON object'"
complete -c chime-server -l admin -d 'Address to serve /metrics, /healthz and /readyz over HTTP, to whoever can reach it [default: none]' -r
complete -c chime-server -l config -d 'Read settings from this TOML file; its keys are the names of these flags' -r -F
complete -c chime-server -l no-tcp -d 'Do not serve TCP'
complete -c chime-server -l no-udp -d 'Do not serve UDP'
complete -c chime-server -l utc -d 'Tell the time in UTC, not in local time'
complete -c chime-server -l check-config -d 'Print the settings in force, as a file for --config, and exit'
complete -c chime-server -s h -l help -d 'Print help (see more with \'--help\')'
complete -c chime-server -s V -l version -d 'Print version'
