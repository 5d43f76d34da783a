import { Text, View } from "@tarojs/components";
import { useState } from "react";
import { accountOf, type Device } from "menshen-miniprogram/account";
import { LoginSheet } from "../../components/LoginSheet";
import { client, tell, useSession } from "../../services/session";

const account = accountOf(client);

export default function Index() {
  const { status, user, profileMissing, phoneBound } = useSession();
  const [orders, setOrders] = useState("");
  const [devices, setDevices] = useState<Device[]>([]);
  const signedIn = status === "signed-in" || status === "offline";

  const load = () => client.request("/orders").then(() => setOrders("订单已加载"), tell);
  const show = () => account.devices().then(setDevices, tell);
  const signOut = () => client.signOut().then(() => (setOrders(""), setDevices([])));

  return (
    <View className="page">
      <View className="card">
        <View className="row">
          <View>
            <View className="name">{!signedIn ? "未登录" : profileMissing ? "已登录" : user?.nickname}</View>
            <View className="muted">{!signedIn ? "点击下方按钮会先登录" : phoneBound ? user?.phone : "未绑定手机号"}</View>
          </View>
          {status === "offline" && <Text className="muted">离线</Text>}
        </View>
      </View>
      <View className="card">
        <View className="button orders" onClick={load}>查看订单</View>
        {orders && <View className="row">{orders}</View>}
        {signedIn && <View className="button plain devices" onClick={show}>登录设备</View>}
        {devices.map((device) => (
          <View className="row device" key={device.id}>
            <Text>{device.client_type}{device.current ? "（本机）" : ""}</Text>
            <Text className="muted">{device.last_used_at}</Text>
          </View>
        ))}
        {signedIn && <View className="button plain sign-out" onClick={signOut}>退出登录</View>}
      </View>
      <LoginSheet />
    </View>
  );
}
