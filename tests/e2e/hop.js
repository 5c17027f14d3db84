// A next hop made of nodemailer's smtp-server: files each message into FOLDER/Maildir/new.
// usage: hop.js FOLDER PORT
"use strict";
const fs = require("fs");
const { SMTPServer } = require("smtp-server");
const [folder, port] = process.argv.slice(2);
fs.mkdirSync(`${folder}/Maildir/new`, { recursive: true });
let count = 0;
new SMTPServer({
    name: "smtp-server.test",
    authOptional: true,
    hideSTARTTLS: true,
    disableReverseLookup: true,
    onData(stream, session, done) {
        const name = `${process.pid}.${++count}`;
        const file = fs.createWriteStream(`${folder}/${name}`);
        stream.pipe(file).on("finish", () => {
            fs.renameSync(`${folder}/${name}`, `${folder}/Maildir/new/${name}`);
            done();
        });
    },
}).listen(Number(port), "127.0.0.1");
