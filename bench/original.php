<?php
// What a script does that knows nothing but to read everything and print it, at every run.
[, $url, $user, $password, $base, $filter] = $argv;
$link = ldap_connect($url);
ldap_set_option($link, LDAP_OPT_PROTOCOL_VERSION, 3);
ldap_set_option($link, LDAP_OPT_REFERRALS, 0);
if (!ldap_bind($link, $user, $password)) {
    fwrite(STDERR, ldap_error($link) . "\n");
    exit(1);
}
$wanted = ["sAMAccountName", "telephoneNumber", "userPrincipalName", "facsimileTelephoneNumber"];
$found = ldap_get_entries($link, ldap_search($link, $base, $filter, $wanted));
$first = fn($one, $name) => $one[strtolower($name)][0] ?? "";
for ($at = 0; $at < $found["count"]; $at++) {
    $one = $found[$at];
    $number = $first($one, "telephoneNumber");
    $context = $first($one, "facsimileTelephoneNumber") ?: "users";
    echo "[$number](lan)\nfullname = ", ucfirst($first($one, "sAMAccountName")), "\nsecret = $number\n",
        "email = ", $first($one, "userPrincipalName"), "\ncallgroup = $number[0]\n",
        "pickupgroup = $number[0]\ncontext = $context\n\n";
}
